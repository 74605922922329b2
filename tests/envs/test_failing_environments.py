"""What a failing environment of this process leads to."""

import traceback
import warnings

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from kerasrl import envs
from kerasrl.envs.restarter import restart_seed
from kerasrl.errors import ArgumentError, EnvError
from kerasrl.notes import add_note
from kerasrl.testing import CountingEnv

RESTART = envs.FaultPolicy("restart", max_env_restarts=3)


class Made:
    """Makes environments that fail as their lives say, and keeps them.

    A life is the number of the step or, negative, of the reset that fails; 0 for one without fault.
    The observation is `[10 * life + episode, step]`.
    """

    def __init__(self, *lives, lengths=(3,), error=OSError):
        self.lives, self.lengths, self.error = lives, lengths, error
        self.envs = []

    def __call__(self):
        life = len(self.envs)
        env = Failing(self.lives[life], self.lengths, self.error)
        env._episode = 10 * life - 1
        self.envs.append(env)
        return env


class Failing(CountingEnv):
    def __init__(self, fail_at, lengths, error):
        super().__init__(lengths)
        self.fail_at, self.error, self.resets = fail_at, error, 0

    def reset(self, **arguments):
        self.resets += 1
        if self.resets == -self.fail_at:
            raise self.error("the simulator crashed")
        return super().reset(**arguments)

    def step(self, action):
        if len(self.actions) + 1 == self.fail_at:
            raise self.error("the simulator crashed")
        return super().step(action)


def notes(error):
    return getattr(error, "__notes__", [])


def steps(environments, count, num_envs=1):
    environments.reset(seed=5)
    return [environments.step(np.full(num_envs, i % 2)) for i in range(count)]


@pytest.mark.fault(1)
def test_an_error_of_a_step_says_where_it_came_from():
    made = Made(0, 5, 0)
    environments = envs.make(made, 3)
    with pytest.raises(OSError) as raised:
        steps(environments, 9, 3)
    assert str(raised.value) == "the simulator crashed"
    assert notes(raised.value) == ["environment 1, episode 2, step 2, action 0"]
    shown = "".join(traceback.format_exception(raised.value))
    assert "environment 1, episode 2, step 2, action 0" in shown
    environments.close()
    assert [env.closed for env in made.envs] == [True] * 3


@pytest.mark.fault(3)
@pytest.mark.parametrize(("fail_at", "episode"), [(-1, 1), (-3, 3)])
def test_an_error_of_a_reset_says_where_it_came_from(fail_at, episode):
    with pytest.raises(OSError) as raised:
        steps(envs.make(Made(0, fail_at), 2), 9, 2)
    assert str(raised.value) == "the simulator crashed"
    assert notes(raised.value) == [f"environment 1, reset for episode {episode}"]


@pytest.mark.fault(1)
def test_an_error_of_a_vector_env_says_what_was_going_on():
    made = Made(0, 5)
    vector = SyncVectorEnv([made] * 2)
    with pytest.raises(OSError) as raised:
        steps(envs.make(vector), 9, 2)
    note = "one of SyncVectorEnv(num_envs=2), episodes [2 2], steps [2 2], actions [1, 1]"
    assert notes(raised.value) == [note]


def test_python_without_notes_shows_the_line_too():
    class OldError(ValueError):
        @property
        def add_note(self):
            raise AttributeError

    try:
        try:
            raise KeyError("before")
        except KeyError as before:
            raise OldError("the error") from before
    except OldError as error:
        add_note(error, "where it was")
        assert error.__notes__ == ["where it was"]
        shown = "".join(traceback.format_exception(error))
    note = shown.index("KerasRLError: where it was")
    assert shown.index("before") < note < shown.index("the error")


@pytest.mark.fault(2)
def test_a_failed_environment_is_replaced():
    made = Made(0, 5, 0)
    environments = envs.make(made, 2, RESTART)
    text = (
        r"^environment 1, episode 2, step 2, action 0: OSError: the simulator crashed\. .*1 of .*3"
    )
    with pytest.warns(UserWarning, match=text) as warned:
        taken = steps(environments, 9, 2)
    environments.close()
    assert len(warned) == 1
    assert [step.cut.tolist() for step in taken] == [[False, i == 4] for i in range(9)]
    assert [step.valid.tolist() for step in taken] == [[True, i != 4] for i in range(9)]
    assert [step.observation[0][1].tolist() for step in taken[2:]] == [
        [11, 0],
        [11, 1],
        [20, 0],  # The first observation of another episode, in another environment.
        [20, 1],
        [20, 2],
        [21, 0],
        [21, 1],
    ]
    # The broken-off episode is none; the other environment goes on as if nothing were.
    assert [episode for step in taken for episode in step.episodes] == [
        (0, 6.0, 3),
        (1, 6.0, 3),
        (0, 6.0, 3),
        (1, 6.0, 3),
        (0, 6.0, 3),
    ]
    assert [env.closed for env in made.envs] == [True] * 3
    assert len(taken[0].cut) == 2 and not taken[0].cut.flags.writeable


@pytest.mark.fault(2)
def test_what_a_step_gives_that_failed():
    with pytest.warns(UserWarning, match="restart 1"):
        step = steps(envs.make(Made(1, 0), 1, RESTART), 1)[0]
    assert (step.reward.tolist(), step.terminated.tolist(), step.truncated.tolist()) == (
        [0.0],
        [False],
        [False],
    )
    assert step.next_observation[0].tolist() == step.observation[0].tolist() == [[10, 0]]
    assert step.episodes == []


@pytest.mark.fault(2)
def test_a_new_environment_has_a_seed_of_its_own_and_the_same_in_every_run():
    def seeds():
        made = Made(0, 2, 2, 0)
        environments = envs.make(made, 2, RESTART)
        with pytest.warns(UserWarning):
            steps(environments, 4, 2)
        return [env.seeds[0] for env in made.envs]

    first = seeds()
    assert first[:2] == [5, 6]
    assert len(set(first)) == 4
    assert seeds() == first
    assert restart_seed(None, 0, 1) is None


@pytest.mark.fault(2)
def test_a_reset_that_fails_breaks_no_episode_off():
    made = Made(-2, -1, 0)
    with pytest.warns(UserWarning, match="environment 0, reset for episode 2: OSError") as warned:
        taken = steps(envs.make(made, 1, RESTART), 4)
    assert len(warned) == 2  # The reset of the new environment failed as well.
    assert not any(step.cut.any() for step in taken)
    assert taken[2].episodes == [(0, 6.0, 3)]
    assert taken[2].next_observation[0].tolist() == [[0, 3]]
    assert taken[2].observation[0].tolist() == [[20, 0]]
    assert [env.closed for env in made.envs] == [True, True, False]


@pytest.mark.fault(2)
def test_restarts_are_bounded():
    made = Made(2, 2, 2, 2)
    environments = envs.make(made, 1, RESTART)
    rule = "^environment 0, episode 4, step 2, action 1: failed after max_env_restarts=3 restarts"
    with pytest.warns(UserWarning) as warned, pytest.raises(EnvError, match=rule) as raised:
        steps(environments, 99)
    assert len(warned) == 3
    assert isinstance(raised.value.__cause__, OSError)
    environments.close()
    assert [env.closed for env in made.envs] == [True] * 4


@pytest.mark.fault(2)
def test_what_cannot_be_made_anew_counts_as_a_failure():
    made = Made(1)
    with (
        pytest.warns(UserWarning) as warned,
        pytest.raises(EnvError, match="last error was IndexError: tuple index") as raised,
    ):
        steps(envs.make(made, 1, RESTART), 1)
    assert len(warned) == 3
    assert isinstance(raised.value.__cause__, IndexError)


@pytest.mark.fault(2)
@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, EnvError])
def test_what_is_no_failure_is_raised(error):
    environments = envs.make(Made(2, 0, error=error), 1, RESTART)
    with pytest.raises(error, match="^the simulator crashed"), warnings.catch_warnings():
        warnings.simplefilter("error")
        steps(environments, 3)


@pytest.mark.fault(2)
def test_a_broken_rule_is_raised():
    class Nan(CountingEnv):
        def step(self, action):
            return (*super().step(action)[:1], np.nan, False, False, {})

    with pytest.raises(EnvError, match="^environment 0, step 1 of its episode: the reward must be"):
        steps(envs.make(Nan, 1, RESTART), 1)


@pytest.mark.fault(2)
def test_other_spaces_in_the_place_of_a_failed_environment_are_refused():
    made = [Failing(2, (3,), OSError), CountingEnv(action_space=gym.spaces.Discrete(3))]
    other = made[1]
    environments = envs.make(lambda: made.pop(0), 1, RESTART)
    with pytest.warns(UserWarning), pytest.raises(EnvError, match="must have the same spaces"):
        steps(environments, 3)
    environments.close()
    assert other.closed


@pytest.mark.fault(2)
def test_the_same_environment_again_is_refused():
    env = Failing(2, (3,), OSError)
    with pytest.warns(UserWarning), pytest.raises(EnvError, match="the same object as one before"):
        steps(envs.make(lambda: env, 1, RESTART), 3)
    vector = SyncVectorEnv([lambda: Failing(2, (3,), OSError)])
    with pytest.warns(UserWarning), pytest.raises(EnvError, match="a new one at every call"):
        steps(envs.make(lambda: vector, 1, RESTART), 3)


@pytest.mark.fault(2)
@pytest.mark.parametrize("env", [CountingEnv(), SyncVectorEnv([CountingEnv])])
def test_what_is_given_as_it_is_cannot_be_restarted(env):
    with pytest.raises(ArgumentError, match='on_env_error="restart" needs an id or a callable'):
        envs.make(env, 1, RESTART)


@pytest.mark.fault(2)
@pytest.mark.parametrize("mode", list(AutoresetMode), ids=lambda mode: mode.name)
@pytest.mark.parametrize("fail_at", [5, -2])
def test_a_whole_vector_is_replaced(mode, fail_at):
    made, vectors = Made(0, fail_at), []

    def make():
        sources = [made, made] if not vectors else [lambda: CountingEnv((3,))] * 2
        vectors.append(SyncVectorEnv(sources, autoreset_mode=mode))
        return vectors[-1]

    environments = envs.make(make, 2, RESTART)
    with pytest.warns(UserWarning, match="OSError: the simulator crashed.*restart 1") as warned:
        taken = steps(environments, 12, 2)
    environments.close()
    assert len(warned) == 1
    assert len(vectors) == 2
    assert all(env.closed for vector in vectors for env in vector.envs)
    (at,) = [i for i, step in enumerate(taken) if step.cut.any()]
    # A step of its own to reset comes after the third where there is one.
    own_step = mode == AutoresetMode.NEXT_STEP
    assert at == (4 + own_step if fail_at == 5 else 2 + own_step)
    assert taken[at].cut.all() and not taken[at].valid.any()
    assert taken[at].observation[0].tolist() == [[0, 0], [0, 0]]
    assert taken[at + 1].valid.all()
    assert taken[at + 3].episodes == [(0, 6.0, 3), (1, 6.0, 3)]
    first, second = vectors[1].envs[0].seeds[0], vectors[1].envs[1].seeds[0]
    assert second == first + 1 and not {first, second} & {5, 6}


@pytest.mark.parametrize(
    ("arguments", "rule"),
    [
        ({"on_env_error": "ignore"}, 'on_env_error must be one of "raise", "restart"; received'),
        ({"nan_policy": None}, 'nan_policy must be one of "raise", "warn", "zero"; received None'),
        ({"strict": 1}, "strict must be True or False; received 1"),
        ({"max_env_restarts": 0}, "max_env_restarts must be a positive int; received 0"),
        ({"max_env_restarts": 1.5}, "max_env_restarts must be a positive int; received 1.5"),
        ({"env_timeout": 0}, "env_timeout must be a positive number of seconds; received 0"),
        ({"env_timeout": np.inf}, "env_timeout must be a positive number of seconds; received inf"),
    ],
)
def test_bad_arguments_are_refused(arguments, rule):
    with pytest.raises(ArgumentError, match=rule):
        envs.FaultPolicy(**arguments)


class Numbers(gym.Env):
    """Gives the numbers it is told to, from the second step on."""

    def __init__(self, reward=1.0, observation=None, dtype=np.float32):
        self.observation_space = gym.spaces.Dict(x=gym.spaces.Box(-np.inf, np.inf, (2,), dtype))
        self.action_space = gym.spaces.Discrete(9)
        self.reward = reward
        self.observed = np.zeros(2, dtype) if observation is None else observation

    def reset(self, *, seed=None, options=None):
        self.time = 0
        return {"x": np.zeros_like(self.observed)}, {}

    def step(self, action):
        self.time += 1
        if self.time == 1:
            return {"x": np.zeros_like(self.observed)}, 1.0, False, False, {}
        return {"x": self.observed.copy()}, self.reward, self.time == 3, False, {}


def numbers(policy, num_envs=2, **arguments):
    """Three steps of environments of which the last one is told to give something."""
    made = [Numbers(**arguments), *[Numbers()] * (num_envs - 1)]
    environments = envs.make(made.pop, num_envs, envs.FaultPolicy(nan_policy=policy))
    environments.reset()
    return [environments.step(np.array([3, 4])) for _ in range(3)]


@pytest.mark.fault(5)
@pytest.mark.parametrize("reward", [np.nan, np.inf, -np.inf, 1e39])
@pytest.mark.parametrize("policy", ["warn", "zero"])
def test_a_reward_that_is_not_finite_may_be_let_in(reward, policy):
    used = "0 is used in its place" if policy == "zero" else "it is used as it is"
    rule = f"^environment 1, step 2 .*finite float32; received .* for the action 4[.].*{used}"
    with pytest.warns(UserWarning, match=rule) as warned:
        taken = numbers(policy, reward=reward)
    assert len(warned) == 1
    expected = 0.0 if policy == "zero" else np.float32(np.clip(reward, -np.inf, np.inf) * np.inf)
    rewards = [step.reward for step in taken]
    np.testing.assert_array_equal(rewards, [[1, 1], [1, expected], [1, expected]])
    (episodes,) = [step.episodes for step in taken if step.episodes]
    np.testing.assert_array_equal([e.episode_return for e in episodes], [3, 1 + 2 * expected])


@pytest.mark.fault(6)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("policy", ["warn", "zero"])
def test_an_observation_that_is_not_finite_may_be_let_in(value, policy):
    rule = r"^environment 1, step 2 .*observation\['x'\] must be finite float32s; received "
    rule += f"{value} after the action 4[.]"
    with pytest.warns(UserWarning, match=rule) as warned:
        taken = numbers(policy, observation=np.float32([7, value]))
    assert len(warned) == 1
    expected = 0.0 if policy == "zero" else value
    for step in taken[1:]:
        np.testing.assert_array_equal(step.next_observation[0], [[0, 0], [7, expected]])
    np.testing.assert_array_equal(taken[1].observation[0], [[0, 0], [7, expected]])


@pytest.mark.fault(5)
@pytest.mark.fault(6)
def test_there_is_a_warning_for_each_kind():
    with pytest.warns(UserWarning) as warned:
        numbers("warn", reward=np.nan, observation=np.float32([np.nan, 0]))
    assert len(warned) == 2


@pytest.mark.fault(6)
def test_float64_that_no_float32_holds_is_not_finite():
    rule = r"step 2 of its episode: observation\['x'\] must be finite float32s; received 1e\+39"
    made = [Numbers(observation=np.array([0, 1e39]), dtype=np.float64)]
    environments = envs.make(made.pop)
    environments.reset()
    with pytest.raises(EnvError, match=rule):
        [environments.step(np.array([0])) for _ in range(2)]


@pytest.mark.fault(5)
def test_a_step_of_its_own_to_reset_spoils_no_return():
    class Vector(gym.vector.VectorEnv):
        num_envs = 1
        metadata = {"autoreset_mode": AutoresetMode.NEXT_STEP}
        single_observation_space = gym.spaces.Box(-9, 9, (1,), np.float32)
        single_action_space = gym.spaces.Discrete(2)
        time = -1

        def reset(self, *, seed=None, options=None):
            return np.zeros((1, 1), np.float32), {}

        def step(self, actions):
            self.time += 1
            reward = [1.0, np.nan, 1.0][self.time % 3]
            ended = self.time % 3 != 1
            return np.zeros((1, 1), np.float32), [reward], [ended], [False], {}

    environments = envs.make(Vector(), 1, envs.FaultPolicy(nan_policy="warn"))
    environments.reset()
    with pytest.warns(UserWarning):
        taken = [environments.step(np.array([0])) for _ in range(3)]
    assert [step.valid.tolist() for step in taken] == [[True], [False], [True]]
    assert taken[2].episodes == [(0, 1.0, 1)]


BOUNDED = gym.spaces.Dict(
    kind=gym.spaces.Discrete(3, start=1),
    x=gym.spaces.Box(np.float32([-1, -np.inf]), np.float32([1, np.inf])),
    pair=gym.spaces.MultiDiscrete([2, 3]),
    pixels=gym.spaces.Box(0, 255, (2,), np.uint8),
)
INSIDE = {"kind": 1, "x": np.zeros(2, np.float32), "pair": [0, 2], "pixels": np.uint8([0, 255])}


class Bounded(gym.Env):
    observation_space = BOUNDED
    action_space = gym.spaces.Discrete(2)

    def __init__(self, at_reset=INSIDE, at_step=INSIDE):
        self.at_reset, self.at_step = at_reset, at_step

    def reset(self, *, seed=None, options=None):
        return self.at_reset, {}

    def step(self, action):
        return self.at_step, 0.0, False, False, {}


@pytest.mark.fault(7)
@pytest.mark.parametrize("at", ["at_reset", "at_step"])
@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"x": np.float32([1.5, 9])}, r"observation\['x'\]\[0\] is 1.5, outside .*, -1.0 to 1.0"),
        ({"kind": 0}, r"observation\['kind'\] is 0, outside of its bounds, 1 to 3"),
        ({"kind": 4}, r"observation\['kind'\] is 4, outside of its bounds, 1 to 3"),
        ({"pair": [1, 3]}, r"observation\['pair'\]\[1\] is 3, outside of its bounds, 0 to 2"),
    ],
)
def test_an_observation_out_of_bounds_is_worth_one_warning(at, wrong, sentence):
    made = [Bounded(**{at: INSIDE | wrong}), Bounded()]
    environments = envs.make(made.pop, 2)
    with pytest.warns(UserWarning, match=f"^environment 1: {sentence}[.]") as warned:
        for _ in range(2):
            environments.reset()
            for _ in range(200):
                environments.step(np.zeros(2, int))
    assert len(warned) == 1


STRICT = envs.FaultPolicy(strict=True)


@pytest.mark.fault(7)
def test_strict_makes_it_an_error_at_once():
    sentence = r"observation\['kind'\] is 0, outside of its bounds, 1 to 3. .* strict at False"
    wrong = INSIDE | {"kind": 0}
    with pytest.raises(EnvError, match=f"^environment 0, step 0 of its episode: {sentence}"):
        envs.make(lambda: Bounded(at_reset=wrong), 1, STRICT).reset()
    made = [Bounded(at_step=wrong), Bounded()]
    environments = envs.make(made.pop, 2, STRICT)
    environments.reset()
    with pytest.raises(EnvError, match=f"^environment 1, step 1 of its episode: {sentence}"):
        environments.step(np.zeros(2, int))


@pytest.mark.fault(7)
def test_strict_looks_at_what_every_episode_begins_with():
    class Once(Bounded):
        def step(self, action):
            self.at_reset = INSIDE | {"kind": 0}
            return self.at_step, 0.0, True, False, {}

    environments = envs.make(Once, 1, STRICT)
    environments.reset()
    with pytest.raises(EnvError, match=r"step 0 of its episode: observation\['kind'\] is 0"):
        environments.step(np.zeros(1, int))


@pytest.mark.fault(7)
def test_strict_reaches_fit(make_agent):
    class Far(Bounded):
        observation_space = gym.spaces.Box(-1, 1, (4,), np.float32)

    env = Far(np.float32([0, 0, 0, 0]), np.float32([0, 0, 2, 0]))
    with pytest.raises(EnvError, match=r"step 1 .* observation\[2\] is 2.0, outside of its bounds"):
        make_agent("dqn").fit(env, epochs=1, strict=True, verbose=0)


@pytest.mark.fault(7)
@pytest.mark.parametrize("faults", [envs.FaultPolicy(), STRICT])
def test_what_is_within_the_bounds_is_worth_none(faults):
    extreme = INSIDE | {"kind": 3, "x": np.float32([-1, -1e30]), "pair": [1, 0]}
    environments = envs.make(lambda: Bounded(INSIDE, extreme), 2, faults)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        environments.reset()
        for _ in range(200):
            environments.step(np.zeros(2, int))


class Unseeded(CountingEnv):
    def reset(self):
        return super().reset()


@pytest.mark.fault(27)
def test_an_environment_that_takes_no_seed():
    environments = envs.make(Unseeded, 2)
    with pytest.warns(UserWarning, match="^environment 0: its reset takes no seed") as warned:
        for _ in range(2):
            environments.reset(seed=3)
    assert len(warned) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        envs.make(Unseeded).reset()
        envs.make(CountingEnv).reset(seed=3)


@pytest.mark.fault(17)
def test_float_pixels_are_worth_a_warning():
    action = gym.spaces.Discrete(2)
    with pytest.warns(UserWarning, match="^observation_space is an image of float32 up to 255"):
        envs.EnvSpec(gym.spaces.Box(0, 255, (4, 4, 3), np.float32), action)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        envs.EnvSpec(gym.spaces.Box(0, 255, (4, 4, 3), np.uint8), action)
        envs.EnvSpec(gym.spaces.Box(0, 1, (4, 4, 3), np.float32), action)
        envs.EnvSpec(gym.spaces.Box(0, 255, (4,), np.float32), action)
