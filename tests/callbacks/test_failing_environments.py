"""What is learned from, and counted, of an episode in which the environment fails."""

import os
import signal
import traceback

import numpy as np
import pytest
import tensorflow as tf
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv

import kerasrl
from kerasrl import envs
from kerasrl.callbacks import Collect, CollectEpisodes, CollectRollouts, collect_rollouts
from kerasrl.errors import ArgumentError, EnvError, EnvWorkerError
from kerasrl.testing import CountingEnv

RESTART = envs.FaultPolicy("restart", max_env_restarts=10)
pytestmark = pytest.mark.filterwarnings("ignore:.*Its episode is broken off")


class Failing(CountingEnv):
    """Raises at one step of its life; its episodes are numbered from `first` on."""

    def __init__(self, first, fail_at, lengths=(3,)):
        super().__init__(lengths)
        self._episode = first - 1
        self.fail_at = fail_at

    def step(self, action):
        if len(self.actions) + 1 == self.fail_at:
            raise OSError("the simulator crashed")
        return super().step(action)


def lives(*arguments):
    """A callable that makes one `Failing` after the other."""
    left = list(arguments)
    return lambda: Failing(*left.pop(0))


@pytest.mark.fault(2)
def test_a_rollout_ends_where_an_environment_failed(collected):
    agent, (rollout,), logs = collected(
        CollectRollouts(8), lives((0, 5), (10, None)), 1, faults=RESTART
    )
    column = {key: leaf[:, 0] for key, leaf in rollout.items()}
    assert column["valid"].tolist() == [True] * 4 + [False] + [True] * 3
    assert column["ended"].tolist() == [False, False, True, True, False, False, False, True]
    assert column["discount"].tolist() == [1, 1, 0, 1, 1, 1, 1, 0]
    assert column["reward"].tolist() == [1, 2, 3, 1, 0, 1, 2, 3]
    assert column["observation"].tolist() == [
        [0, 0],
        [0, 1],
        [0, 2],
        [1, 0],
        [1, 1],
        [10, 0],
        [10, 1],
        [10, 2],
    ]
    # Before the failure it is bootstrapped from the last observation of the broken-off episode.
    assert column["next_policy"][[0, 1, 3, 5, 6], -1].tolist() == [1, 2, 101, 1001, 1002]
    assert int(agent.env_steps) == 7
    assert logs["env_steps"] == 7.0
    assert (logs["episode_return"], logs["episode_length"]) == (6.0, 3.0)


@pytest.mark.fault(2)
def test_no_advantage_flows_over_a_failure(collected):
    _, (rollout,), _ = collected(CollectRollouts(5), lives((0, 3), (90, None)), 1, faults=RESTART)
    column = {key: leaf[:, 0] for key, leaf in rollout.items()}
    advantages = kerasrl.losses.generalized_advantages(
        column["reward"],
        0.5 * column["discount"],
        column["policy"][:, -1],
        column["next_policy"][:, -1],
        1.0,
        column["ended"],
    ).numpy()
    # Two rewards and the value, 2, of the observation in which the third step failed.
    np.testing.assert_allclose(advantages[:2], [1 + (2 + 2 / 2) / 2 - 0, 2 + 2 / 2 - 1])


@pytest.mark.fault(2)
def test_a_failure_at_the_first_step_of_a_rollout(collected):
    _, rollouts, _ = collected(
        CollectRollouts(2), lives((0, 3, (9,)), (10, None)), 2, faults=RESTART
    )
    first, second = ({key: leaf[:, 0] for key, leaf in r.items()} for r in rollouts)
    assert first["valid"].tolist() == [True, True]
    assert first["next_policy"][:, -1].tolist() == [1, 2]
    assert second["valid"].tolist() == [False, True]
    assert second["observation"].tolist() == [[0, 2], [10, 0]]


@pytest.mark.fault(2)
@pytest.mark.parametrize("mode", list(AutoresetMode), ids=lambda mode: mode.name)
def test_the_rollouts_of_a_vector_end_where_it_failed(collected, mode):
    sources = [
        [lambda: Failing(0, None, (9,)), lambda: Failing(0, 2, (9,))],
        [lambda: Failing(10, None, (9,))] * 2,
    ]
    env = lambda: SyncVectorEnv(sources.pop(0), autoreset_mode=mode)  # noqa: E731
    _, (rollout,), _ = collected(CollectRollouts(4), env, 1, faults=RESTART)
    assert rollout["valid"].tolist() == [[True, True], [False, False], [True, True], [True, True]]
    assert rollout["ended"].tolist() == [[True, True]] + [[False, False]] * 3
    assert rollout["next_policy"][0, :, -1].tolist() == [1, 1]
    assert rollout["observation"][2].tolist() == [[10, 0], [10, 0]]


@pytest.mark.fault(2)
def test_an_episode_that_was_broken_off_is_run_again(collected):
    # The second episode fails at its fourth step, when it is longer than what takes its place.
    env = lives((0, 6, (2, 5)), (10, None, (2,)))
    agent, (rollout,), logs = collected(CollectEpisodes(2, max_steps=6), env, 1, faults=RESTART)
    assert rollout["valid"].T.tolist() == [[True] * 2 + [False] * 4] * 2
    assert rollout["ended"].T.tolist() == [[False, True] + [False] * 4] * 2
    assert rollout["reward"].T.tolist() == [[1, 2, 0, 0, 0, 0]] * 2
    observations = rollout["observation"][:, 1].tolist()
    assert observations == [[10, 0], [10, 1], *[[0, 0]] * 4]
    assert int(agent.env_steps) == 2 + 3 + 2
    assert logs["episode_return"] == 3.0


@pytest.mark.fault(2)
def test_only_the_share_of_the_failed_environment_is_run_again(collected):
    env = lives((0, None, (2,)), (0, 2, (2,)), (10, None, (2,)))
    _, (rollout,), _ = collected(
        CollectEpisodes(2, max_steps=3), env, 1, num_envs=2, faults=RESTART
    )
    assert rollout["observation"][0].tolist() == [[0, 0], [10, 0]]
    assert rollout["valid"].T.tolist() == [[True, True, False]] * 2


@pytest.mark.fault(2)
def test_episodes_all_begin_anew_with_a_new_vector(collected):
    sources = [
        [lambda: Failing(0, None, (3,)), lambda: Failing(0, 2, (3,))],
        [lambda: Failing(10, None, (3,))] * 2,
    ]
    env = lambda: SyncVectorEnv(sources.pop(0))  # noqa: E731
    _, rollouts, _ = collected(CollectEpisodes(2, max_steps=4), env, 1, faults=RESTART)
    assert rollouts[0]["observation"][0].tolist() == [[10, 0], [10, 0]]
    assert rollouts[0]["valid"].T.tolist() == [[True] * 3 + [False]] * 2


class Recorded(kerasrl.replay.Uniform):
    """Keeps every transition that is inserted, as tuples."""

    def __init__(self):
        super().__init__(32)
        self.rows = []

    def insert(self, rows):
        batch = self.packer.unpack(tf.constant(self.packer.to_bytes(rows)))
        columns = [leaf.numpy() for leaf in tf.nest.flatten(batch)]
        self.rows += list(zip(*columns, strict=True))  # In the order of the names.
        super().insert(rows)


@pytest.fixture
def fit():
    """Trains a DQN for a few steps and returns the rows of the replay and the history."""

    def run(env, n_step=1, steps=8, **arguments):
        agent = kerasrl.DQN(n_step=n_step, discount=0.5)
        agent.compile(run_eagerly=True)
        with Recorded() as replay:
            run.rows = replay.rows
            history = agent.fit(
                env,
                steps_per_epoch=steps,
                batch_size=4,
                replay=replay,
                callbacks=[Collect(warmup_steps=40)],
                verbose=0,
                **arguments,
            )
        return agent, replay.rows, history.history

    return run


@pytest.mark.fault(2)
@pytest.mark.parametrize("n_step", [1, 3])
@pytest.mark.table
def test_no_transition_reaches_over_a_failure(fit, n_step):
    # Every environment fails at its eighth step, the second of its third episode.
    env = lives(*[(10 * life, 8) for life in range(10)])
    with pytest.warns(UserWarning) as warned:
        agent, rows, history = fit(env, n_step, on_env_error="restart")
    texts = [str(warning.message) for warning in warned]
    restarts = [text for text in texts if "takes its place" in text]
    assert len(restarts) == (48 - 1) // 7
    assert restarts[0].startswith("environment 0, episode 3, step 2, action ")
    assert "OSError: the simulator crashed. " in restarts[0]
    assert all(f"restart {i + 1} of at most 10" in text for i, text in enumerate(restarts))
    assert int(agent.env_steps) == 48
    assert history["env_steps"] == [48.0]
    assert (history["episode_return"], history["episode_length"]) == ([6.0], [3.0])
    expected = set()
    for life in range(7):
        for episode in (0, 1, 2):
            for begin in range(1 if episode == 2 else 3):
                length = min(n_step, 3 - begin)
                ended = begin + length == 3
                if episode == 2 and n_step > 1:
                    continue  # It was not whole when the environment failed.
                reward = sum(0.5**k * (begin + 1 + k) for k in range(length))
                bootstrap = 0.0 if ended else 0.5 ** (length - 1)
                ends_at = begin + length
                name = 10 * life + episode
                expected.add((bootstrap, (name, ends_at), (name, begin), reward))
    written = {
        (float(discount), tuple(following), tuple(observed), float(reward))
        for _, discount, following, observed, reward in rows
    }
    assert written <= expected
    assert len(rows) == len(written) == (48 if n_step == 1 else 6 * 6 + 6)


@pytest.mark.fault(1)
@pytest.mark.parametrize("n_step", [1, 3])
@pytest.mark.table
def test_nothing_of_a_step_that_fails_is_written(fit, n_step):
    env = lives((0, 44))
    with pytest.raises(OSError) as raised:
        fit(env, n_step)
    note = raised.value.__notes__[0]
    shown = "".join(traceback.format_exception(raised.value))
    assert note in shown
    assert note.startswith("environment 0, episode 15, step 2, action ")
    # Of 43 steps; the last one's reward was still to be followed by others.
    assert len(fit.rows) == (43 if n_step == 1 else 42)


@pytest.mark.fault(28)
@pytest.mark.fault(29)
@pytest.mark.filterwarnings("ignore:the workers of")
@pytest.mark.parametrize(
    ("harm", "rule"),
    [(signal.SIGKILL, "died, exit code -9"), (signal.SIGSTOP, "within env_timeout=1.0 seconds")],
)
@pytest.mark.thorough
def test_a_worker_that_dies_or_hangs_ends_the_run(fit, harm, rule):
    class Harmed(CountingEnv):
        def step(self, action):
            if len(self.actions) == 22:
                os.kill(os.getpid(), harm)
            return super().step(action)

    env = lambda: AsyncVectorEnv([CountingEnv, Harmed])  # noqa: E731
    with pytest.raises(EnvWorkerError, match=rf"^env worker 1 \(pid \d+\) .*{rule}"):
        fit(env, env_timeout=1.0)
    # Nothing of the step that failed, nor of those that only reset the environments.
    assert len(fit.rows) == 2 * 22


@pytest.mark.fault(2)
def test_restarts_are_bounded_and_the_last_error_is_the_cause(fit):
    with pytest.raises(EnvError, match="after max_env_restarts=2 restarts") as raised:
        fit(lives(*[(0, 8)] * 3), on_env_error="restart", max_env_restarts=2)
    shown = "".join(traceback.format_exception(raised.value))
    assert shown.index("OSError: the simulator crashed") < shown.index("EnvError: environment 0")


@pytest.mark.fault(2)
def test_a_restart_needs_something_to_make_environments_from(fit):
    env = Failing(0, 1)
    with pytest.raises(ArgumentError, match="needs an id or a callable"):
        fit(env, on_env_error="restart")
    assert not env.seeds


@pytest.mark.fault(2)
def test_an_evaluation_outlives_a_failure_too(fit):
    _, _, history = fit(
        lambda: Failing(0, None),
        validation_data=lives((0, 8), (0, None)),
        on_env_error="restart",
    )
    assert (history["val_episode_return"], history["val_episode_length"]) == ([6.0], [3.0])


@pytest.mark.parametrize("argument", ["on_env_error", "nan_policy"])
def test_what_is_no_choice_is_refused(fit, argument):
    with pytest.raises(ArgumentError, match=f"{argument} must be one of .* received 'ignore'"):
        fit(lambda: Failing(0, None), **{argument: "ignore"})


@pytest.mark.fault(5)
@pytest.mark.fault(6)
def test_numbers_that_are_not_finite_may_be_zeros(fit):
    class Nan(CountingEnv):
        def step(self, action):
            observation, _, *rest = super().step(action)
            return observation * np.float32([1, np.nan]), np.inf, *rest

    with pytest.warns(UserWarning, match='nan_policy="zero"') as warned:
        _, rows, history = fit(Nan, nan_policy="zero", validation_data=Nan)
    texts = [str(warning.message) for warning in warned]
    assert len([text for text in texts if "nan_policy" in text]) == 4  # Two kinds in each.
    assert {float(reward) for *_, reward in rows} == {0.0}
    assert {float(number) for _, _, following, _, _ in rows for number in following[1:]} == {0.0}
    assert history["episode_return"] == history["val_episode_return"] == [0.0]


@pytest.mark.fault(24)
def test_endless_episodes_are_worth_a_warning_when_rollouts_are_learned_from(
    collected, monkeypatch
):
    monkeypatch.setattr(collect_rollouts, "_LONG", 16)
    with pytest.warns(UserWarning, match="no episode has ended in 16 environment") as warned:
        _, _, logs = collected(CollectRollouts(8), CountingEnv((99,)), 4)
    assert len(warned) == 1
    assert "episode_return" not in logs
