import decimal
import fractions
import warnings

import cloudpickle
import gymnasium as gym
import numpy as np
import pytest
import tensorflow as tf
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv

from kerasrl import envs, testing
from kerasrl.errors import EnvError
from kerasrl.testing import CountingEnv, RandomEnv

NUM_ENVS = 3
SEED = 7
STEPS = 60


def sync(mode, **arguments):
    made = [lambda: RandomEnv()] * NUM_ENVS
    return envs.make(SyncVectorEnv(made, autoreset_mode=mode, **arguments))


KINDS = {
    "list": lambda: envs.make(lambda: RandomEnv(), NUM_ENVS),
    "next_step": lambda: sync(AutoresetMode.NEXT_STEP),
    "same_step": lambda: sync(AutoresetMode.SAME_STEP),
    "disabled": lambda: sync(AutoresetMode.DISABLED),
    "shared_arrays": lambda: sync(AutoresetMode.SAME_STEP, copy=False),
}


def action(env, time):
    """The action that environment `env` takes at its `time`-th real step."""
    return (5 * env + time * time) % 2


def flat(observation):
    return [np.array(leaf) for leaf in tf.nest.flatten(observation)]


def by_hand(env_index, steps):
    """Transitions and episodes of one environment, stepped as Gymnasium's documentation does."""
    env = gym.wrappers.RecordEpisodeStatistics(RandomEnv())
    observation, _ = env.reset(seed=SEED + env_index)
    transitions, episodes = [], []
    for time in range(steps):
        a = action(env_index, time)
        following, reward, terminated, truncated, info = env.step(a)
        ends = (terminated, truncated and not terminated)
        transitions.append((flat(observation), a, np.float32(reward), ends, flat(following)))
        observation = following
        if terminated or truncated:
            episodes.append((env_index, info["episode"]["r"], info["episode"]["l"]))
            observation, _ = env.reset()
    return transitions, episodes


def collect(environments, steps, seed=SEED):
    """The same by way of `Environments`, and which steps were valid."""
    transitions = [[] for _ in range(NUM_ENVS)]
    episodes = [[] for _ in range(NUM_ENVS)]
    valid = []
    observation = environments.reset(seed)
    for _ in range(steps):
        actions = np.array([action(i, len(taken)) for i, taken in enumerate(transitions)])
        step = environments.step(actions)
        for i in np.nonzero(step.valid)[0]:
            transitions[i].append(
                (
                    [leaf[i].copy() for leaf in observation],
                    actions[i],
                    step.reward[i],
                    (step.terminated[i], step.truncated[i]),
                    [leaf[i].copy() for leaf in step.next_observation],
                )
            )
        for episode in step.episodes:
            episodes[episode.env].append(episode)
        valid.append(step.valid)
        observation = step.observation
    return transitions, episodes, np.array(valid)


def assert_as_by_hand(environments):
    transitions, episodes, valid = collect(environments, STEPS)
    for i in range(NUM_ENVS):
        expected, expected_episodes = by_hand(i, len(transitions[i]))
        assert len(transitions[i]) == valid[:, i].sum()
        for ours, theirs in zip(transitions[i], expected, strict=True):
            for leaf, expected_leaf in zip(ours[0] + ours[4], theirs[0] + theirs[4], strict=True):
                np.testing.assert_array_equal(leaf, expected_leaf)
            assert ours[1:4] == theirs[1:4]
        assert len(expected_episodes) > 5
        for episode, (env, episode_return, length) in zip(
            episodes[i], expected_episodes, strict=True
        ):
            assert (episode.env, episode.length) == (env, length)
            assert episode.episode_return == pytest.approx(episode_return, abs=1e-5)
    return transitions, valid


@pytest.mark.fault(20)
@pytest.mark.fault(21)
@pytest.mark.fault(22)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.table
def test_every_kind_gives_what_single_environments_give(kind):
    transitions, valid = assert_as_by_hand(KINDS[kind]())
    ends = [[ended for _, _, _, ended, _ in taken] for taken in transitions]
    assert {ended for taken in ends for ended in taken} == {
        (False, False),
        (True, False),
        (False, True),
    }
    # One step of its own after every end, but after one at the very last step.
    ended = sum(any(end) for taken in ends for end in taken)
    at_last = sum(valid[-1][i] and any(taken[-1]) for i, taken in enumerate(ends))
    assert (~valid).sum() == (ended - at_last if kind == "next_step" else 0)


def test_worker_processes_give_what_single_environments_give():
    cloudpickle.register_pickle_by_value(testing)  # So that the workers need not import us.
    try:
        env = AsyncVectorEnv(
            [lambda: RandomEnv()] * NUM_ENVS,
            shared_memory=True,
            context="spawn",
            autoreset_mode=AutoresetMode.SAME_STEP,
        )
    finally:
        cloudpickle.unregister_pickle_by_value(testing)
    try:
        assert_as_by_hand(envs.make(env))
    finally:
        env.close(terminate=True)


def counting(mode=None, lengths=(2,), truncates=False, count=1):
    make = [lambda: CountingEnv(lengths, truncates)] * count
    if mode is None:
        return envs.make(lambda: CountingEnv(lengths, truncates), count)
    return envs.make(SyncVectorEnv(make, autoreset_mode=mode))


@pytest.mark.fault(18)
@pytest.mark.parametrize("mode", [None, AutoresetMode.SAME_STEP, AutoresetMode.DISABLED])
@pytest.mark.parametrize("truncates", [False, True])
def test_the_end_of_an_episode(mode, truncates):
    environments = counting(mode, truncates=truncates)
    environments.reset()
    environments.step(np.array([0]))
    step = environments.step(np.array([0]))
    assert step.reward.tolist() == [2]
    assert step.reward.dtype == np.float32
    assert (step.terminated.tolist(), step.truncated.tolist()) == ([not truncates], [truncates])
    assert step.next_observation[0].tolist() == [[0, 2]]
    assert step.observation[0].tolist() == [[1, 0]]
    assert step.valid.tolist() == [True]
    assert step.episodes == [envs.Episode(env=0, episode_return=3.0, length=2)]


@pytest.mark.fault(20)
def test_the_end_of_an_episode_with_a_step_of_its_own_to_reset():
    environments = counting(AutoresetMode.NEXT_STEP)
    environments.reset()
    steps = [environments.step(np.array([0])) for _ in range(4)]
    assert [step.valid.tolist() for step in steps] == [[True], [True], [False], [True]]
    assert [step.episodes for step in steps] == [[], [envs.Episode(0, 3.0, 2)], [], []]
    assert [step.next_observation[0].tolist() for step in steps] == [
        [[0, 1]],
        [[0, 2]],
        [[1, 0]],
        [[1, 1]],
    ]
    assert [step.observation[0].tolist() for step in steps[1:]] == [[[0, 2]], [[1, 0]], [[1, 1]]]


@pytest.mark.fault(23)
@pytest.mark.parametrize("mode", [None, *AutoresetMode])
def test_episodes_of_one_step(mode):
    environments = counting(mode, lengths=(1,))
    environments.reset()
    steps = [environments.step(np.array([0])) for _ in range(4)]
    episodes = [episode for step in steps for episode in step.episodes]
    assert len(episodes) == sum(step.valid.sum() for step in steps)
    assert set(episodes) == {envs.Episode(0, 1.0, 1)}


@pytest.mark.fault(22)
@pytest.mark.parametrize("mode", [None, *AutoresetMode])
def test_reset_begins_anew_in_the_middle_of_anything(mode):
    environments = counting(mode, lengths=(3,), count=2)
    for steps in (1, 3):  # In an episode, and where NEXT_STEP would reset by itself.
        environments.reset()
        for _ in range(steps):
            environments.step(np.zeros(2, int))
        environments.reset()
        step = [environments.step(np.zeros(2, int)) for _ in range(3)][-1]
        assert step.valid.all()
        assert [episode[1:] for episode in step.episodes] == [(6.0, 3)] * 2


def test_each_environment_has_its_own_seed():
    made = []

    def make():
        made.append(CountingEnv((1,)))
        return made[-1]

    environments = envs.make(make, 3)
    environments.reset(seed=5)
    environments.step(np.zeros(3, int))
    environments.reset()
    assert [env.seeds for env in made] == [[5, None, None], [6, None, None], [7, None, None]]


@pytest.mark.fault(19)
def test_terminated_wins():
    step = lambda env, action: (env.observe(), 1.0, True, True, {})  # noqa: E731
    environments = envs.make(Broken(step=step))
    environments.reset()
    result = environments.step(np.array([0]))
    assert (result.terminated.tolist(), result.truncated.tolist()) == ([True], [False])


class Broken(gym.Env):
    """Breaks one rule of the API, at its second step or reset."""

    def __init__(self, space=None, observe=None, reset=None, step=None, reward=None):
        self.observation_space = space or gym.spaces.Box(-9, 9, (2,), np.float32)
        self.action_space = gym.spaces.Discrete(9)
        self.fault = {"observe": observe, "reset": reset, "step": step, "reward": reward}
        self.resets = self.steps = 0

    def observe(self, fault=None):
        return fault if fault is not None else np.zeros(2, np.float32)

    def reset(self, *, seed=None, options=None):
        self.resets += 1
        if self.fault["reset"]:
            return self.fault["reset"](self)
        fault = self.fault["observe"] if self.resets == 2 else None
        if self.observation_space.shape is None:
            return self.observation_space.sample() if fault is None else fault, {}
        return self.observe(fault), {}

    def step(self, action):
        self.steps += 1
        if self.fault["step"]:
            return self.fault["step"](self, action)
        reward = 1.0 if self.fault["reward"] is None or self.steps != 2 else self.fault["reward"]
        if self.observation_space.shape is None:
            return self.observation_space.sample(), reward, self.steps == 3, False, {}
        return self.observe(), reward, self.steps == 3, False, {}


def run(broken, steps=3, start=None):
    """Steps two environments of which the second is broken."""
    made = [start or Broken(broken.observation_space), broken]
    environments = envs.make(lambda: made.pop(0), 2)
    environments.reset()
    for _ in range(steps):
        environments.step(np.array([3, 4]))


BAD_OBSERVATIONS = {
    "shape": (np.zeros(3, np.float32), r"must have shape \(2,\); received \(3,\)"),
    "dtype": (np.zeros(2, complex), "must be float32; received complex128"),
    "nan": (np.float32([0, np.nan]), "must be finite"),
    "inf": (np.float32([np.inf, 0]), "must be finite"),
    "key": ({"a": 0}, r"must have shape"),
}


@pytest.mark.fault(6)
@pytest.mark.fault(8)
@pytest.mark.fault(9)
@pytest.mark.fault(11)
@pytest.mark.parametrize("kind", BAD_OBSERVATIONS)
def test_a_bad_observation_at_a_step(kind):
    observation, rule = BAD_OBSERVATIONS[kind]
    step = lambda env, _: (  # noqa: E731
        env.observe(observation if env.steps == 2 else None),
        1.0,
        False,
        False,
        {},
    )
    with pytest.raises(EnvError, match=f"^environment 1, step 2 of its episode: .*{rule}.*[.]$"):
        run(Broken(step=step))


@pytest.mark.fault(6)
@pytest.mark.fault(8)
@pytest.mark.fault(10)
@pytest.mark.parametrize("kind", BAD_OBSERVATIONS)
def test_a_bad_observation_in_the_second_reset(kind):
    observation, rule = BAD_OBSERVATIONS[kind]
    with pytest.raises(EnvError, match=f"^environment 1, step 0 of its episode: .*{rule}.*[.]$"):
        run(Broken(observe=observation))


@pytest.mark.fault(6)
def test_a_bad_observation_in_the_first_reset():
    environments = envs.make(Broken(reset=lambda env: (np.float32([0, np.nan]), {})))
    with pytest.raises(EnvError, match="^environment 0, step 0 of its episode: .*must be finite"):
        environments.reset()


@pytest.mark.fault(6)
@pytest.mark.fault(8)
@pytest.mark.fault(11)
@pytest.mark.parametrize(
    ("observation", "rule"),
    [
        ({"x": np.float32(np.nan), "y": 0}, r"observation\['x'\] must be finite"),
        ({"x": np.float32(0)}, r"observation must be a dict with keys \['x', 'y'\]"),
        ({"x": np.float32(0), "y": 0.5}, r"observation\['y'\] must be int64"),
    ],
)
def test_a_bad_observation_within_a_dict(observation, rule):
    space = gym.spaces.Dict(x=gym.spaces.Box(-1, 1, ()), y=gym.spaces.Discrete(2))
    with pytest.raises(EnvError, match=f"^environment 1, step 0 of its episode: {rule}"):
        run(Broken(space, observe=observation))


@pytest.mark.fault(3)
@pytest.mark.parametrize("reset", [lambda env: env.observe(), lambda env: (env.observe(), 0, 0)])
def test_a_reset_of_the_old_api(reset):
    rule = r"^environment 1, step 0 .*: reset\(\) must return \(observation, info\), as gymnasium"
    with pytest.raises(EnvError, match=rule):
        run(Broken(reset=reset))


@pytest.mark.fault(4)
@pytest.mark.parametrize(
    ("result", "received"),
    [((np.zeros(2, np.float32), 0.0, False, {}), "4 values"), (None, "NoneType")],
)
def test_a_step_of_the_old_api(result, received):
    rule = rf"^environment 1, step 1 .*: step\(\) must return \(obs.*0\.26; received {received}"
    with pytest.raises(EnvError, match=rule):
        run(Broken(step=lambda *_: result))


@pytest.mark.fault(5)
@pytest.mark.parametrize("reward", [np.nan, np.inf, -np.inf, 1e39, np.array([np.nan])])
def test_a_reward_that_is_not_finite(reward):
    value = str(np.ravel(reward)[0]).replace("+", r"\+")
    rule = f"^environment 1, step 2 .*finite float32; received {value} for the action 4[.] Mend"
    with pytest.raises(EnvError, match=rule):
        run(Broken(reward=reward))


@pytest.mark.fault(25)
@pytest.mark.parametrize("reward", [np.zeros(2), [1.0, 2.0], np.zeros((1, 3)), np.zeros(0)])
def test_a_reward_of_several_objectives(reward):
    shape = str(np.shape(reward)).replace("(", r"\(").replace(")", r"\)")
    rule = f"^environment 1, step 2 .*reward must be one number; received shape {shape}"
    with pytest.raises(EnvError, match=rule):
        run(Broken(reward=reward))


@pytest.mark.fault(25)
@pytest.mark.parametrize("reward", [2, True, np.int64(2), np.float64(2), np.array(2)])
def test_a_reward_of_any_single_number(reward):
    environments = envs.make(Broken(reward=reward))
    environments.reset()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        steps = [environments.step(np.array([0])) for _ in range(2)]
    assert steps[-1].reward.tolist() == [float(reward)]


@pytest.mark.fault(25)
@pytest.mark.parametrize("reward", [np.array([2.0]), [[2]]])
def test_a_reward_in_an_array_of_one_is_worth_one_warning(reward):
    environments = envs.make(lambda: Broken(reward=reward), 2)
    environments.reset()
    with pytest.warns(UserWarning, match="^environment 0: the reward comes with shape") as warned:
        steps = [environments.step(np.array([0, 0])) for _ in range(2)]
    assert len(warned) == 1
    assert steps[-1].reward.tolist() == [2.0, 2.0]


@pytest.mark.regression(47)
@pytest.mark.parametrize("name", ["terminated", "truncated"])
@pytest.mark.parametrize(
    "value",
    [[False], "False", "", None, 2, 0, 1, 0.0, np.nan, np.array([False, False]), np.zeros(1, int)],
    ids=repr,
)
def test_a_flag_that_is_not_one_bool(name, value):
    flags = {"terminated": False, "truncated": False} | {name: value}
    step = lambda env, _: (env.observe(), 0.0, *flags.values(), {})  # noqa: E731
    with pytest.raises(EnvError, match=f"^environment 1, step 1 .*: {name} must be one bool; rec"):
        run(Broken(step=step))


@pytest.mark.parametrize("wrap", [np.bool_, np.array, lambda flag: np.array([[flag]])])
def test_a_flag_of_any_single_bool(wrap):
    flags = wrap(False), wrap(True)
    environments = envs.make(Broken(step=lambda env, _: (env.observe(), 1.0, *flags, {})))
    environments.reset()
    step = environments.step(np.array([0]))
    assert (step.terminated.tolist(), step.truncated.tolist()) == ([False], [True])


@pytest.mark.regression(47)
@pytest.mark.parametrize("reward", ["2", b"2", 2j, np.array("2"), {}, [[1], [1, 2]]], ids=repr)
def test_a_reward_that_is_no_number(reward):
    with pytest.raises(EnvError, match="^environment 1, step 2 .*: the reward must be one number"):
        run(Broken(reward=reward))


@pytest.mark.regression(47)
def test_a_reward_of_none():
    step = lambda env, _: (env.observe(), None, False, False, {})  # noqa: E731
    with pytest.raises(EnvError, match="must be one number; received None of type NoneType"):
        run(Broken(step=step))


@pytest.mark.parametrize("reward", [fractions.Fraction(1, 2), decimal.Decimal("0.5")])
def test_a_reward_of_pythons_other_numbers(reward):
    environments = envs.make(Broken(step=lambda env, _: (env.observe(), reward, False, False, {})))
    environments.reset()
    assert environments.step(np.array([0])).reward.tolist() == [0.5]


@pytest.mark.regression(52)
@pytest.mark.parametrize("info", [{}, [], [{}], ({},), None])
def test_any_info_that_nobody_reads(info):
    env = Broken(reset=lambda env: (env.observe(), info))
    env.fault["step"] = lambda env, _: (env.observe(), 1.0, True, False, info)
    environments = envs.make(env)
    environments.reset()
    (episode,) = environments.step(np.array([0])).episodes
    assert episode.info == {}


@pytest.mark.regression(52)
@pytest.mark.parametrize("info", [0, "", np.zeros(2), [1]], ids=repr)
def test_what_is_no_info(info):
    rule = r"reset\(\) must return \(observation, info\), and info must be a dict; received "
    with pytest.raises(EnvError, match=rule + type(info).__name__):
        run(Broken(reset=lambda env: (env.observe(), info)))


class BrokenVector(gym.vector.VectorEnv):
    """A vector environment that is right but for what is changed about it."""

    num_envs = 2

    def __init__(self, mode=AutoresetMode.SAME_STEP, reset=None, **changed):
        self.metadata = {"autoreset_mode": mode}
        self.single_observation_space = gym.spaces.Box(-9, 9, (3,), np.float32)
        self.single_action_space = gym.spaces.Discrete(2)
        self.changed, self.changed_reset = changed, reset

    def reset(self, *, seed=None, options=None):
        if self.changed_reset is not None:
            return self.changed_reset
        return np.zeros((2, 3), np.float32), {}

    def step(self, actions):
        result = {
            "observation": np.zeros((2, 3), np.float32),
            "reward": np.ones(2),
            "terminated": np.array([False, True]),
            "truncated": np.array([False, False]),
            "infos": {"final_obs": np.array([None, np.ones(3, np.float32)], object)},
        }
        return tuple(value for value in (result | self.changed).values() if value is not None)


def step_once(**arguments):
    environments = envs.make(BrokenVector(**arguments))
    environments.reset()
    return environments.step(np.array([0, 1]))


def test_the_vector_env_that_is_broken_below_is_right():
    step = step_once()
    assert step.next_observation[0].tolist() == [[0, 0, 0], [1, 1, 1]]
    assert step.observation[0].tolist() == [[0, 0, 0], [0, 0, 0]]
    assert step.episodes == [envs.Episode(env=1, episode_return=1.0, length=1)]


def test_what_a_step_of_its_own_to_reset_pays_does_not_count():
    env = BrokenVector(AutoresetMode.NEXT_STEP)
    environments = envs.make(env)
    environments.reset()
    for terminated in ([False, True], [False, False], [False, True]):
        env.changed["terminated"] = np.array(terminated)
        step = environments.step(np.array([0, 0]))
    assert step.episodes == [envs.Episode(env=1, episode_return=1.0, length=1)]


def test_lists_do_for_a_vector_env():
    step = step_once(reward=[1, 2], terminated=[False, True], truncated=[False, True])
    assert step.reward.tolist() == [1, 2]
    assert step.terminated.tolist() == [False, True]
    assert step.truncated.tolist() == [False, False]


NAME = r"^BrokenVector\(num_envs=2\), steps \[1 1\] of its episodes: "


@pytest.mark.fault(4)
@pytest.mark.fault(5)
@pytest.mark.fault(6)
@pytest.mark.fault(9)
@pytest.mark.fault(21)
@pytest.mark.fault(25)
@pytest.mark.regression(47)
@pytest.mark.parametrize(
    ("changed", "rule"),
    [
        ({"truncated": None}, NAME + r"step\(\) must return .*received 4 values"),
        ({"observation": np.zeros((2, 4))}, NAME + r"observation must have shape \(2, 3\)"),
        ({"observation": np.zeros((2, 3), complex)}, NAME + "observation must be float32"),
        ({"reward": np.ones((2, 1))}, NAME + r"the reward must have shape \(2,\).*\(2, 1\)"),
        ({"reward": np.ones((2, 3))}, NAME + r"the reward must have shape \(2,\).*\(2, 3\)"),
        ({"reward": 1.0}, NAME + r"the reward must have shape \(2,\); received \(\)"),
        ({"terminated": np.zeros((2, 1), bool)}, NAME + r"terminated must have shape \(2,\)"),
        ({"truncated": False}, NAME + r"truncated must have shape \(2,\); received \(\)"),
        ({"reward": np.array([0, np.nan])}, "^environment 1, step 1 .*received nan .* action 1"),
        (
            {"observation": np.float32([[0, 0, 0], [0, np.inf, 0]])},
            "^environment 1, step 0 of its episode: observation must be finite",
        ),
        (
            {"observation": np.float32([[0, np.nan, 0], [0, 0, 0]])},
            "^environment 0, step 1 of its episode: observation must be finite",
        ),
        ({"terminated": np.array([0, 1])}, NAME + r"terminated must be bools; .*\[0, 1\] of int64"),
        ({"truncated": ["", "False"]}, NAME + r"truncated must be bools; received .* of <U5"),
        ({"truncated": [None, False]}, NAME + r"truncated must be bools; received .* of object"),
        ({"reward": ["1", "2"]}, NAME + r"the reward must be numbers; received .* of <U1"),
        ({"reward": [None, 1.0]}, NAME + r"the reward must be numbers; received .* of object"),
        ({"reward": np.ones(2, complex)}, NAME + r"the reward must be numbers; .* of complex128"),
        ({"infos": {}}, r"^environment 1, step 1 .*SAME_STEP must give .*infos\['final_obs'\]"),
        (
            {"infos": {"final_obs": [None, np.zeros(4, np.float32)]}},
            r"^environment 1, step 1 .* in infos\['final_obs'\], observation must have shape \(3,",
        ),
        (
            {"infos": {"final_obs": [None, np.float32([0, 0, np.nan])]}},
            "^environment 1, step 1 of its episode: observation must be finite",
        ),
    ],
)
def test_faults_of_a_vector_env(changed, rule):
    with pytest.raises(EnvError, match=rule):
        step_once(**changed)


@pytest.mark.fault(3)
@pytest.mark.fault(9)
@pytest.mark.parametrize(
    ("reset", "rule"),
    [
        (np.zeros((2, 3), np.float32), r"reset\(\) must return \(observation, info\)"),
        ((np.zeros((2, 4), np.float32), {}), r"observation must have shape \(2, 3\)"),
    ],
)
def test_faults_of_a_vector_envs_reset(reset, rule):
    name = r"^BrokenVector\(num_envs=2\), steps \[0 0\] of its episodes: "
    with pytest.raises(EnvError, match=name + rule):
        step_once(reset=reset)


@pytest.mark.fault(22)
@pytest.mark.parametrize("mode", [None, "SAME_STEP", True])
def test_a_vector_env_must_state_its_autoreset_mode(mode):
    with pytest.raises(EnvError, match=f"must state its autoreset mode.*received {mode!r}"):
        envs.make(BrokenVector(mode=mode))


@pytest.mark.regression(52)
@pytest.mark.parametrize("mode", AutoresetMode)
def test_infos_as_lists(mode):
    """The mode in which the last observations come in them, too."""
    env = SyncVectorEnv([lambda: CountingEnv((2,))] * 2, autoreset_mode=mode)
    environments = envs.make(gym.wrappers.vector.DictInfoToList(env))
    environments.reset()
    steps = [environments.step(np.zeros(2, int)) for _ in range(2)]
    assert steps[-1].next_observation[0].tolist() == [[0, 2], [0, 2]]
    assert steps[-1].episodes == [envs.Episode(0, 3.0, 2), envs.Episode(1, 3.0, 2)]
