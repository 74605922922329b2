import copy
import pickle
import threading
import warnings

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv

import kerasrl
from kerasrl import envs
from kerasrl.testing import CountingEnv

ACTION = np.zeros(1, int)

MEDDLERS = {
    "reset": lambda env: env.reset(),
    "step": lambda env: env.step(0),
    "the innermost environment": lambda env: env.unwrapped.step(0),
    "another wrapper": lambda env: gym.Wrapper(env.unwrapped).reset(),
    "kerasrl.evaluate": lambda env: kerasrl.evaluate(env, episodes=1),
    "other Environments": lambda env: envs.make(env).reset(),
    "a thread": lambda env: _in_thread(env.reset),
}


def _in_thread(function):
    thread = threading.Thread(target=function)
    thread.start()
    thread.join()


def wrapped(length=5):
    return gym.wrappers.TimeLimit(CountingEnv((length,)), 100)


@pytest.mark.regression(46)
@pytest.mark.parametrize("meddler", MEDDLERS)
def test_an_episode_that_something_else_has_used_is_broken_off(meddler):
    env = wrapped()
    environments = envs.make(env)
    environments.reset()
    environments.step(ACTION)
    MEDDLERS[meddler](env)
    with pytest.warns(UserWarning, match="environment 0 was reset or stepped by something else"):
        step = environments.step(ACTION)
    assert (step.cut.tolist(), step.valid.tolist(), step.episodes) == ([True], [False], [])
    episode, time = step.observation[0][0]
    assert time == 0
    steps = [environments.step(ACTION) for _ in range(5)]
    assert [s.next_observation[0][0].tolist() for s in steps] == [[episode, t] for t in range(1, 6)]
    assert not any(s.cut.any() for s in steps)
    assert steps[-1].episodes == [envs.Episode(0, 15.0, 5)]


@pytest.mark.regression(46)
def test_only_the_environment_that_was_used_begins_anew():
    made = [CountingEnv((9,)) for _ in range(3)]
    left = list(made)
    environments = envs.make(lambda: left.pop(0), 3)
    environments.reset()
    environments.step(np.zeros(3, int))
    made[1].reset()
    with pytest.warns(UserWarning, match="environment 1 was reset"):
        step = environments.step(np.zeros(3, int))
    assert step.cut.tolist() == [False, True, False]
    assert step.observation[0].tolist() == [[0, 2], [2, 0], [0, 2]]


@pytest.mark.regression(46)
@pytest.mark.parametrize("mode", AutoresetMode)
@pytest.mark.parametrize("of", ["the vector", "one of it"])
def test_a_vector_of_which_something_else_has_used_a_part_begins_anew(mode, of):
    env = SyncVectorEnv([lambda: wrapped(3)] * 2, autoreset_mode=mode)
    environments = envs.make(env)
    environments.reset()
    for _ in range(3):  # All are at their end, and in one mode about to reset themselves.
        environments.step(np.zeros(2, int))
    if of == "the vector":
        env.reset()
    else:
        env.envs[1].reset()
    with pytest.warns(UserWarning, match="was reset or stepped by something else"):
        step = environments.step(np.zeros(2, int))
    assert step.cut.all() and not step.valid.any()
    assert step.observation[0][:, 1].tolist() == [0, 0]
    step = environments.step(np.zeros(2, int))
    assert step.valid.all()
    assert step.reward.tolist() == [1, 1]


def test_there_is_one_warning():
    env = wrapped()
    environments = envs.make(env)
    environments.reset()
    with pytest.warns(UserWarning, match="something else") as record:
        for _ in range(3):
            env.reset()
            environments.step(ACTION)
    assert len(record) == 1


@pytest.mark.parametrize("make", [wrapped, lambda: SyncVectorEnv([wrapped])])
def test_nobody_is_taken_for_something_else(make):
    """Nor are those who had the environment before."""
    env = make()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(2):
            environments = envs.make(env)
            environments.reset(seed=1)
            assert not any(environments.step(ACTION).cut.any() for _ in range(20))
            environments.close()


def test_an_environment_is_as_it_was_when_nobody_watches():
    env = CountingEnv()
    env.step = own = lambda action: "own"
    before = dict(vars(env))
    one, other = envs.make(env), envs.make(env)
    one.close()
    assert vars(env) != before
    other.close()
    assert vars(env) == before and env.step is own
    environments = envs.make(env)
    del environments  # Without being closed.
    assert vars(env) == before


def test_a_watched_environment_can_be_copied_and_pickled():
    env = CountingEnv()
    environments = envs.make(env)
    environments.reset()
    copies = [copy.deepcopy(env), pickle.loads(pickle.dumps(env))]
    for one in copies:
        one.step(0)
        assert one.actions == [0]
    assert env.actions == []
    assert not environments.step(ACTION).cut.any()  # The copies are others.


def test_a_reset_without_a_seed_is_known_while_others_watch():
    class Unseeded(CountingEnv):
        def reset(self):
            return super().reset()

    env = Unseeded()
    first, second = envs.make(env), envs.make(env)
    for environments in (first, second):
        with pytest.warns(UserWarning, match="its reset takes no seed"):
            environments.reset(seed=1)


def test_what_goes_on_from_a_checkpoint_begins_anew_where_the_first_would_have():
    env = gym.make("CartPole-v1")
    environments = envs.make(env)
    environments.reset(seed=0)
    environments.step(ACTION)
    env.reset()
    state = environments.get_state()
    with pytest.warns(UserWarning, match="something else"):
        expected = environments.step(ACTION)
    other = envs.make(gym.make("CartPole-v1"))
    other.reset(seed=5)
    other.set_state(state)
    with pytest.warns(UserWarning, match="something else"):
        step = other.step(ACTION)
    np.testing.assert_array_equal(step.observation[0], expected.observation[0])


@pytest.mark.regression(46)
def test_two_threads_in_one_environment_make_no_step_that_never_happened():
    env = CountingEnv((50,))
    wrong = []

    def run():
        environments = envs.make(env)
        (observation,) = environments.reset()
        for _ in range(2_000):
            step = environments.step(ACTION)
            if step.valid[0] and (
                step.next_observation[0][0, 1] != observation[0, 1] + 1
                or step.next_observation[0][0, 0] != observation[0, 0]
            ):
                wrong.append((observation, step))
            (observation,) = step.observation

    threads = [threading.Thread(target=run) for _ in range(2)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert wrong == []
