import sys

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import SyncVectorEnv

from kerasrl import envs
from kerasrl.errors import ArgumentError, ArgumentTypeError, EnvError, KerasRLError, SpaceError
from kerasrl.testing import CountingEnv


class Recorder:
    """Makes environments, and remembers them."""

    def __init__(self, **arguments):
        self.made = []
        self.arguments = arguments

    def __call__(self):
        self.made.append(CountingEnv(**self.arguments))
        return self.made[-1]


def vector(count=2, **arguments):
    return SyncVectorEnv([lambda: CountingEnv(**arguments)] * count)


@pytest.mark.fault(26)
@pytest.mark.parametrize("num_envs", [1, 3])
def test_an_id(num_envs):
    environments = envs.make("CartPole-v1", num_envs)
    (observation,) = environments.reset(seed=1)
    environments.close()
    assert environments.num_envs == num_envs
    assert observation.shape == (num_envs, 4)
    assert environments.spec.action_space == gym.spaces.Discrete(2)
    assert len(np.unique(observation, axis=0)) == num_envs


def test_an_id_keeps_the_time_limit():
    environments = envs.make("Pendulum-v1")
    environments.reset(seed=0)
    steps = [environments.step(np.zeros((1, 1), np.float32)) for _ in range(200)]
    environments.close()
    assert [bool(step.truncated[0]) for step in steps] == [False] * 199 + [True]


def test_an_unknown_id_says_so():
    with pytest.raises(gym.error.Error, match="NoSuchEnv"):
        envs.make("NoSuchEnv-v0")


def test_box2d_that_is_missing_is_had_from_an_extra(monkeypatch):
    for name in [name for name in sys.modules if name.startswith("gymnasium.envs.box2d")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "Box2D", None)
    with pytest.raises(gym.error.DependencyNotInstalled) as raised:
        envs.make("LunarLander-v3")
    assert 'pip install "kerasrl[box2d]"' in raised.value.__notes__[0]


def test_atari_that_is_not_registered_is_had_from_an_extra(monkeypatch):
    games = [env_id for env_id in gym.registry if env_id.startswith("ALE/")]
    for env_id in games:
        monkeypatch.delitem(gym.registry, env_id)
    with pytest.raises(gym.error.NamespaceNotFound) as raised:
        envs.make("ALE/Pong-v5")
    assert "kerasrl.envs.atari(" in raised.value.__notes__[0]
    assert 'pip install "kerasrl[atari]"' in raised.value.__notes__[0]


@pytest.mark.fault(26)
def test_a_class_is_instantiated_and_closed():
    made = []

    class Env(CountingEnv):
        def __init__(self):
            super().__init__()
            made.append(self)

    environments = envs.make(Env, num_envs=2)
    environments.close()
    assert [env.closed for env in made] == [True, True]


@pytest.mark.fault(26)
def test_what_a_callable_makes_is_closed():
    recorder = Recorder()
    environments = envs.make(recorder, num_envs=3)
    environments.reset()
    assert [env.closed for env in recorder.made] == [False] * 3
    environments.close()
    assert [env.closed for env in recorder.made] == [True] * 3


def test_one_that_fails_to_close_does_not_keep_the_others_open():
    class Stuck(CountingEnv):
        def close(self):
            super().close()
            raise OSError("the simulator does not answer")

    made = []

    def make():
        made.append(Stuck())
        return made[-1]

    environments = envs.make(make, num_envs=3)
    with pytest.raises(OSError, match="does not answer"):
        environments.close()
    assert [env.closed for env in made] == [True] * 3


@pytest.mark.fault(26)
def test_a_given_instance_stays_open():
    env = CountingEnv()
    envs.make(env).close()
    assert not env.closed


@pytest.mark.fault(26)
def test_a_given_vector_env_stays_open():
    env = vector()
    environments = envs.make(env)
    environments.close()
    assert environments.num_envs == 2
    assert not any(inner.closed for inner in env.envs)


@pytest.mark.fault(26)
@pytest.mark.parametrize("num_envs", [1, 2])
def test_a_callable_may_make_one_vector_env(num_envs):
    made = []

    def make():
        made.append(vector())
        return made[-1]

    environments = envs.make(make, num_envs)
    assert environments.num_envs == 2
    environments.close()
    assert len(made) == 1
    assert all(inner.closed for inner in made[0].envs)


def test_a_failure_closes_what_was_made():
    recorder = Recorder()

    def make():
        if len(recorder.made) == 2:
            raise OSError("no more memory")
        return recorder()

    with pytest.raises(OSError, match="no more memory"):
        envs.make(make, num_envs=3)
    assert [env.closed for env in recorder.made] == [True, True]


def test_unserved_spaces_close_what_was_made():
    recorder = Recorder(action_space=gym.spaces.Text(3))
    with pytest.raises(SpaceError, match="action_space is Text"):
        envs.make(recorder)
    assert recorder.made[0].closed


def test_different_spaces_are_refused_and_closed():
    spaces = [gym.spaces.Discrete(2), gym.spaces.Discrete(3)]
    made = []

    def make():
        made.append(CountingEnv(action_space=spaces[len(made)]))
        return made[-1]

    with pytest.raises(EnvError, match=r"same spaces.* Discrete\(2\), environment 1 .*\(3\)"):
        envs.make(make, num_envs=2)
    assert [env.closed for env in made] == [True, True]


def test_one_env_cannot_be_two():
    env = CountingEnv()
    with pytest.raises(EnvError, match="environment 1 is the same object"):
        envs.make(lambda: env, num_envs=2)


def test_a_callable_that_makes_a_vector_env_of_another_size_is_refused():
    made = []

    def make():
        made.append(vector())
        return made[-1]

    with pytest.raises(ArgumentError, match="num_envs=3"):
        envs.make(make, num_envs=3)
    assert all(inner.closed for inner in made[0].envs)


@pytest.mark.parametrize("env", [CountingEnv(), vector()])
def test_num_envs_must_fit_what_is_given(env):
    with pytest.raises(ArgumentError, match="num_envs=3 needs an id or a callable"):
        envs.make(env, num_envs=3)


@pytest.mark.parametrize("num_envs", [0, -1, 1.5, "2", None])
def test_num_envs_must_be_positive(num_envs):
    with pytest.raises(ArgumentError, match="num_envs must be a positive int; received"):
        envs.make("CartPole-v1", num_envs)


@pytest.mark.fault(26)
@pytest.mark.parametrize("env", [None, 3, ["CartPole-v1"], {"id": "CartPole-v1"}, object()])
def test_other_types_are_refused(env):
    with pytest.raises(ArgumentTypeError, match="expected a Gymnasium id, .*; received") as error:
        envs.make(env)
    assert isinstance(error.value, TypeError)
    assert isinstance(error.value, KerasRLError)


@pytest.mark.parametrize("made", [None, "CartPole-v1"])
def test_a_callable_must_make_an_environment(made):
    with pytest.raises(ArgumentTypeError, match="must return a gymnasium.Env .* it returned"):
        envs.make(lambda: made, num_envs=2)
