import gymnasium as gym
import numpy as np
import pytest
import tensorflow as tf
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from kerasrl import envs
from kerasrl.envs import EnvSpec, Step
from kerasrl.errors import ArgumentError, ReplayError
from kerasrl.experience import Transitions
from kerasrl.experience.packing import Packer
from kerasrl.policies import PolicySpec, PolicyStep
from kerasrl.replay import Queue, RolloutWriter, TransitionWriter, Uniform, transition_spec
from kerasrl.testing import CountingEnv, RandomEnv

SPEC = EnvSpec(gym.spaces.Box(-99, 99, (), np.float32), gym.spaces.Discrete(99))


class Sink:
    """Keeps what is written, as dicts of nests."""

    def __init__(self, spec=SPEC):
        self.packer = Packer(transition_spec(spec))
        self.rows = []

    def insert(self, rows):
        assert len(rows)
        self.rows.append(rows.copy())

    def written(self):
        rows = np.concatenate([self.packer.rows(0), *self.rows])
        if not len(rows):
            return []
        batch = self.packer.unpack(tf.constant(self.packer.to_bytes(rows)))
        leaves = [leaf.numpy() for leaf in tf.nest.flatten(batch)]
        return [
            tf.nest.pack_sequence_as(batch, [leaf[i] for leaf in leaves]) for i in range(len(rows))
        ]


def step(reward, next_observation, terminated=False, truncated=False, valid=True):
    """A step of one environment; the next observation is a number."""
    leaf = np.array([next_observation], np.float32)
    return Step(
        reward=np.array([reward], np.float32),
        terminated=np.array([terminated]),
        truncated=np.array([truncated]),
        next_observation=[leaf],
        observation=[leaf],
        valid=np.array([valid]),
        episodes=[],
        cut=np.array([False]),
    )


def write(steps, n_step, discount, first=0.0):
    """Writes the steps of one environment that is observed as its own time."""
    sink = Sink()
    writer = TransitionWriter(sink, 1, n_step, discount)
    for time, taken in enumerate(steps):
        acted = PolicyStep(np.array([time]))
        writer.append([np.array([first + time], np.float32)], acted, taken)
    return {float(row["observation"]): row for row in sink.written()}


def table(written):
    """(observation, action, reward, discount, next observation) of every transition, sorted."""
    keys = ("observation", "action", "reward", "discount", "next_observation")
    return [tuple(float(row[key]) for key in keys) for _, row in sorted(written.items())]


def test_one_step():
    steps = [step(3, 1), step(5, 2, truncated=True), step(7, 3), step(9, 4, terminated=True)]
    assert table(write(steps, 1, 0.5)) == [
        (0, 0, 3, 1, 1),
        (1, 1, 5, 1, 2),
        (2, 2, 7, 1, 3),
        (3, 3, 9, 0, 4),
    ]


def test_three_steps_by_hand():
    steps = [step(1, 1), step(2, 2), step(4, 3), step(8, 4), step(16, 5)]
    assert table(write(steps, 3, 0.5)) == [
        (0, 0, 1 + 2 / 2 + 4 / 4, 0.25, 3),
        (1, 1, 2 + 4 / 2 + 8 / 4, 0.25, 4),
        (2, 2, 4 + 8 / 2 + 16 / 4, 0.25, 5),
    ]


@pytest.mark.fault(18)
@pytest.mark.parametrize("terminated", [False, True])
def test_the_tail_of_an_episode_by_hand(terminated):
    steps = [step(1, 1), step(2, 2), step(4, 3, terminated, not terminated), step(8, 4)]
    assert table(write(steps, 3, 0.5)) == [
        (0, 0, 1 + 2 / 2 + 4 / 4, 0 if terminated else 0.25, 3),
        (1, 1, 2 + 4 / 2, 0 if terminated else 0.5, 3),
        (2, 2, 4, 0 if terminated else 1, 3),
    ]


@pytest.mark.fault(23)
@pytest.mark.parametrize("end", [{"terminated": True}, {"truncated": True}])
def test_an_episode_shorter_than_n(end):
    discount = 0 if "terminated" in end else 1
    steps = [step(1, 1, **end), step(2, 2), step(4, 3, **end)]
    assert table(write(steps, 5, 0.5)) == [
        (0, 0, 1, discount, 1),
        (1, 1, 2 + 4 / 2, discount / 2, 3),
        (2, 2, 4, discount, 3),
    ]


def test_nothing_is_written_before_it_is_complete():
    assert write([step(1, 1)] * 4, 5, 0.9) == {}
    assert list(write([step(1, 1)] * 5, 5, 0.9)) == [0]


@pytest.mark.fault(19)
def test_terminated_wins():
    """`Environments` never gives both; one that does is not bootstrapped from."""
    assert table(write([step(1, 1, terminated=True, truncated=True)], 2, 0.5)) == [(0, 0, 1, 0, 1)]


@pytest.mark.fault(20)
@pytest.mark.parametrize("n_step", [1, 2, 4])
def test_a_step_that_is_not_valid_leaves_no_trace(n_step):
    episode = [step(1, 1), step(2, 2), step(3, 3, truncated=True)]
    ignored = step(100, 50, terminated=True, valid=False)
    plain = write([*episode, *episode], n_step, 0.5)
    reset = write([*episode, ignored, *episode], n_step, 0.5)
    assert set(reset) == {0, 1, 2, 4, 5, 6}
    for time, row in plain.items():
        twin = reset[time + (time > 2)]
        assert [float(row[key]) for key in ("reward", "discount", "next_observation")] == [
            float(twin[key]) for key in ("reward", "discount", "next_observation")
        ]


@pytest.mark.fault(2)
@pytest.mark.parametrize(
    ("n_step", "expected"),
    [
        (1, [(0, 0, 1, 1, 1), (1, 1, 2, 1, 2), (3, 3, 8, 1, 4), (4, 4, 16, 0, 5)]),
        (2, [(0, 0, 1 + 2 / 2, 0.5, 2), (3, 3, 8 + 16 / 2, 0, 5), (4, 4, 16, 0, 5)]),
        (3, [(3, 3, 8 + 16 / 2, 0, 5), (4, 4, 16, 0, 5)]),
    ],
)
def test_where_an_environment_failed_transitions_that_are_not_whole_are_dropped(n_step, expected):
    failed = step(0, 3, valid=False)._replace(cut=np.array([True]))
    steps = [step(1, 1), step(2, 2), failed, step(8, 4), step(16, 5, terminated=True)]
    assert table(write(steps, n_step, 0.5)) == expected


@pytest.mark.fault(2)
def test_the_failure_of_one_environment_is_not_that_of_another():
    sink = Sink()
    writer = TransitionWriter(sink, 2, 3, 0.5)
    for time in range(4):
        taken = step(0, 0)._replace(
            reward=np.float32([1, 1]),
            terminated=np.zeros(2, bool),
            truncated=np.zeros(2, bool),
            next_observation=[np.float32([time + 1, 10 + time + 1])],
            valid=np.array([True, time != 1]),
            cut=np.array([False, time == 1]),
        )
        writer.append([np.float32([time, 10 + time])], PolicyStep(np.array([0, 0])), taken)
    written = {float(row["observation"]): row for row in sink.written()}
    assert [(key, float(row["next_observation"])) for key, row in sorted(written.items())] == [
        (0, 3),
        (1, 4),
    ]


def test_a_transition_does_not_reach_into_the_next_episode():
    steps = [step(1, 1, truncated=True), step(10, 2), step(10, 3), step(10, 4)]
    assert table(write(steps, 2, 0.5)) == [(0, 0, 1, 1, 1), (1, 1, 15, 0.5, 3), (2, 2, 15, 0.5, 4)]


@pytest.mark.parametrize(
    ("n_step", "expected"),
    [
        (1, [2.6, 3.6, 4.4, 5.3, 6.2, 8, 8, 8.9, 9.8, 12]),
        (2, [3.36, 3.6, 5.53, 6.62, 7.8, 8, 9.89, 10.98, 12.2, 12]),
        (10, [3.36, 3.6, 5.678, 6.78, 7.8, 8, 10.122, 11.22, 12.2, 12]),
    ],
)
def test_the_numbers_of_tianshou(n_step, expected):
    """Tianshou's `test_nstep_returns_with_timelimit`, where step i pays i + 1.

    Steps 3 (by its time limit), 7 and 11 end an episode. The value after step i is minus the reward
    of step i + 1, or of step i where an episode ends.
    """
    gamma, ends = 0.1, (3, 7, 11)
    steps = []
    for i in range(2, 12):
        value = -(i + 1) if i in ends else -(i + 2)
        steps.append(step(i + 1, value, terminated=i in (7, 11), truncated=i == 3))
    written = write(steps, n_step, gamma)
    rows = [written[time] for time in range(10)]
    # What an agent does: bootstrap with its own discount once more.
    returns = [row["reward"] + gamma * row["discount"] * row["next_observation"] for row in rows]
    np.testing.assert_allclose(returns, expected, rtol=1e-5)


def pays_one(end_at=None, **end):
    return [step(1, i + 1, **(end if i == end_at else {})) for i in range(10)]


@pytest.mark.parametrize("n_step", [3, 5])
@pytest.mark.parametrize("end_at", [1, 2])
def test_early_termination_as_in_stable_baselines3(n_step, end_at):
    first = write(pays_one(end_at, terminated=True), n_step, 0.99)[0]
    assert first["reward"] == pytest.approx(sum(0.99**i for i in range(end_at + 1)), rel=1e-6)
    assert first["discount"] == 0


@pytest.mark.parametrize("end_at", [1, 2])
def test_early_truncation_as_in_stable_baselines3(end_at):
    first = write(pays_one(end_at, truncated=True), 3, 0.99)[0]
    assert first["reward"] == pytest.approx(sum(0.99**i for i in range(end_at + 1)), rel=1e-6)
    assert first["discount"] == pytest.approx(0.99**end_at, rel=1e-6)


@pytest.mark.parametrize("n_step", [3, 5])
def test_no_end_as_in_stable_baselines3(n_step):
    written = write(pays_one(), n_step, 0.99)
    assert sorted(written) == list(range(10 - n_step + 1))
    assert written[3]["reward"] == pytest.approx(sum(0.99**i for i in range(n_step)), rel=1e-6)
    assert written[3]["discount"] == pytest.approx(0.99 ** (n_step - 1), rel=1e-6)


NUM_ENVS = 4
KINDS = {
    "list": lambda: envs.make(lambda: RandomEnv(), NUM_ENVS),
    **{
        mode.name: lambda mode=mode: envs.make(
            SyncVectorEnv([lambda: RandomEnv()] * NUM_ENVS, autoreset_mode=mode)
        )
        for mode in AutoresetMode
    },
}


def twin(steps, n_step, discount):
    """N-step transitions of one environment, from its real steps, one by one."""
    rows = []
    for t in range(len(steps)):
        reward = 0.0
        for k, (_, _, r, terminated, truncated, following) in enumerate(steps[t : t + n_step], 1):
            reward += discount ** (k - 1) * r
            if terminated or truncated or k == n_step:
                rest = 0.0 if terminated else discount ** (k - 1)
                rows.append((*steps[t][:2], reward, rest, following))
                break
    return rows


def unpacked(row):
    return (
        [leaf.tobytes() for leaf in tf.nest.flatten(row["observation"])],
        int(row["action"]),
        pytest.approx(float(row["reward"]), abs=1e-5),
        pytest.approx(float(row["discount"]), abs=1e-6),
        [leaf.tobytes() for leaf in tf.nest.flatten(row["next_observation"])],
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n_step", [1, 3, 7])
def test_random_steps_against_a_slow_twin(kind, n_step):
    environments, discount = KINDS[kind](), 0.9
    sink = Sink(environments.spec)
    writer = TransitionWriter(sink, NUM_ENVS, n_step, discount)
    rng = np.random.default_rng(0)
    real = [[] for _ in range(NUM_ENVS)]
    observation = environments.reset(seed=3)
    for _ in range(40):
        action = rng.integers(2, size=NUM_ENVS)
        result = environments.step(action)
        writer.append(observation, PolicyStep(action), result)
        for i in np.nonzero(result.valid)[0]:
            real[i].append(
                (
                    [leaf[i].tobytes() for leaf in observation],
                    action[i],
                    float(result.reward[i]),
                    result.terminated[i],
                    result.truncated[i],
                    [leaf[i].tobytes() for leaf in result.next_observation],
                )
            )
        observation = result.observation
    expected = [row for steps in real for row in twin(steps, n_step, discount)]
    written = [unpacked(row) for row in sink.written()]
    assert len(written) == len(expected) > 50
    by_observation = {tuple(row[0]): row for row in written}
    assert len(by_observation) == len(written)
    for row in expected:
        assert by_observation[tuple(row[0])] == row


def test_what_is_written_does_not_change_with_the_arrays_it_came_from():
    sink = Sink()
    writer = TransitionWriter(sink, 1, 2, 0.5)
    observation, action = np.zeros(1, np.float32), np.zeros(1, int)
    for time in range(3):
        observation[:], action[:] = time, time
        taken = step(1, time + 1)
        writer.append([observation], PolicyStep(action), taken)
        taken.next_observation[0][:] = -1
    observation[:], action[:] = -1, -1
    assert [(row["observation"], row["action"]) for row in sink.written()] == [(0, 0), (1, 1)]
    assert [row["next_observation"] for row in sink.written()] == [2, 3]


def test_steps_of_an_episode_that_is_cut_off_are_dropped():
    """A new writer, for a new run, knows nothing of the old one's episodes."""
    sink = Sink()
    for _ in range(2):
        writer = TransitionWriter(sink, 1, 3, 0.5)
        for time in range(2):
            acted = PolicyStep(np.zeros(1, int))
            writer.append([np.zeros(1, np.float32)], acted, step(1, time))
    assert sink.written() == []


@pytest.mark.parametrize("n_step", [0, -1])
def test_n_step_must_be_positive(n_step):
    with pytest.raises(ArgumentError, match=f"n_step must be a positive int; received {n_step}"):
        TransitionWriter(Sink(), 1, n_step, 0.9)


@pytest.mark.regression(37)
@pytest.mark.parametrize("kind", [Uniform, Queue])
def test_a_replay_that_is_not_open_is_said_to_be_so(kind):
    replay = kind()
    rule = r"^this replay is not open; fit\(\) opens it, or call open\(spec\)"
    with pytest.raises(ReplayError, match=rule):
        TransitionWriter(replay, 1, 1, 0.9)
    with pytest.raises(ReplayError, match=rule):
        RolloutWriter(replay, 1, 1)


def test_the_spec_of_a_transition():
    spec = transition_spec(EnvSpec(CountingEnv().observation_space, gym.spaces.Box(-1, 1, (3,))))
    assert spec == {
        "observation": tf.TensorSpec((2,), tf.float32),
        "action": tf.TensorSpec((3,), tf.float32),
        "reward": tf.TensorSpec((), tf.float32),
        "discount": tf.TensorSpec((), tf.float32),
        "next_observation": tf.TensorSpec((2,), tf.float32),
    }


def test_what_a_policy_stores_is_that_of_the_step_a_transition_begins_with():
    experience = Transitions(n_step=2, discount=0.5)
    info = {"visits": tf.TensorSpec((2,), tf.int32)}
    spec = experience.spec(SPEC, PolicySpec(info=info))
    assert spec == transition_spec(SPEC) | info
    sink = Sink()
    sink.packer = Packer(spec)
    writer = experience.writer(sink)
    for time, taken in enumerate([step(1, 1), step(2, 2), step(3, 3, truncated=True)]):
        acted = PolicyStep(np.array([time]), info={"visits": np.int32([[time, 10 * time]])})
        writer.append([np.float32([time])], acted, taken)
    rows = sorted(sink.written(), key=lambda row: row["observation"])
    assert [row["visits"].tolist() for row in rows] == [[0, 0], [1, 10], [2, 20]]
    assert [float(row["reward"]) for row in rows] == [1 + 2 / 2, 2 + 3 / 2, 3]
    assert writer.items == 3
