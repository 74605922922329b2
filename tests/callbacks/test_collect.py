import math

import keras
import numpy as np
import pytest

import kerasrl
from kerasrl.callbacks import Collect, LinearSchedule
from kerasrl.errors import ArgumentError
from kerasrl.replay import Uniform

WARMUP = 32


class Watch(keras.callbacks.Callback):
    """Notes updates and environment steps after every execution, and what the logs hold."""

    def __init__(self, made):
        super().__init__()
        self.made = made
        self.counts = []
        self.batch_logs = []
        self.epoch_logs = []

    def taken(self):
        return sum(len(env.actions) for env in self.made)

    def on_epoch_begin(self, epoch, logs=None):
        self.counts.append((int(self.model.optimizer.iterations), self.taken()))

    def on_train_batch_end(self, batch, logs=None):
        self.counts.append((int(self.model.optimizer.iterations), self.taken()))
        self.batch_logs.append(dict(logs))

    def on_epoch_end(self, epoch, logs=None):
        self.epoch_logs.append(dict(logs))


@pytest.fixture
def fit(make_agent, tiny_env, small_replay):
    """Fits an agent for some steps and returns the agent, the `Watch`, and the environments."""

    def run(collect, steps=16, num_envs=1, per_execution=1, epochs=1, agent=None, env=None, **more):
        made = []

        def factory():
            made.append(tiny_env(**(env or {})))
            return made[-1]

        compiled = {"run_eagerly": True, "steps_per_execution": per_execution}
        agent = agent or make_agent("dqn", compiled)
        watch = Watch(made)
        agent.fit(
            factory,
            steps_per_epoch=steps,
            epochs=epochs,
            batch_size=4,
            num_envs=num_envs,
            callbacks=[watch, collect],
            verbose=0,
            **({"replay": small_replay()} | more),
        )
        return agent, watch, made

    return run


@pytest.mark.parametrize("num_envs", [1, 3])
@pytest.mark.parametrize("per_execution", [1, 8])
@pytest.mark.parametrize("per_turn", [1, 8])
@pytest.mark.parametrize("per_update", [0.5, 1, 4])
@pytest.mark.thorough
def test_pacing(fit, per_update, per_turn, per_execution, num_envs):
    collect = Collect(per_update, WARMUP, per_turn)
    agent, watch, _ = fit(collect, 20, num_envs, per_execution)
    warmup = math.ceil(WARMUP / num_envs) * num_envs
    updates = [done for done, _ in watch.counts]
    executions = [*range(per_execution, 20, per_execution), 20]
    assert updates == [0, *executions]
    for done, taken in watch.counts:
        # As many as are due, in steps of all environments; what is left over is not forgotten.
        due = done if done == 20 else done // per_turn * per_turn
        assert taken == warmup + math.floor(due * per_update / num_envs) * num_envs
    assert int(agent.env_steps) == watch.counts[-1][1]


def test_the_warm_up_is_random_and_the_rest_is_the_policys(fit):
    class Marked(Collect):
        def act(self, observation):
            return np.ones(len(observation[0]), np.int64)

    _, _, (env,) = fit(Marked(warmup_steps=64))
    assert set(map(int, env.actions[:64])) == {0, 1}
    assert set(map(int, env.actions[64:])) == {1}


@pytest.mark.reverb
def test_the_warm_up_goes_on_until_there_is_something_to_sample(fit):
    _, watch, _ = fit(Collect(warmup_steps=0), steps=1)
    assert watch.counts[0] == (0, 32)  # A block of this replay.


def test_a_replay_that_holds_enough_needs_no_warm_up(fit):
    with Uniform(256) as replay:
        agent, *_ = fit(Collect(warmup_steps=64), replay=replay)
        held = replay.size
        assert held >= 64
        _, watch, _ = fit(Collect(warmup_steps=held), agent=agent, replay=replay)
        assert watch.counts[0] == (16, 0)
        held = replay.size
        _, watch, _ = fit(Collect(warmup_steps=held + 1), agent=agent, replay=replay)
        assert watch.counts[0][1] > 0


def test_the_policy_acted_with_is_the_one_just_trained(make_agent, tiny_env, small_replay):
    class Follow(Collect):
        wrong = []

        def act(self, observation):
            actions = super().act(observation)
            self.wrong.extend(actions != self.model.predict_on_batch(observation[0]))
            return actions

    agent = make_agent("dqn", {"run_eagerly": True})
    agent.compile(keras.optimizers.SGD(3.0), run_eagerly=True)  # So that the policy does change.
    greedy = LinearSchedule("epsilon", 0.0, 0.0, steps=1)
    agent.fit(
        tiny_env(),
        steps_per_epoch=32,
        batch_size=4,
        callbacks=[Follow(2, warmup_steps=WARMUP), greedy],
        replay=small_replay(),
        verbose=0,
    )
    assert len(Follow.wrong) == 64
    assert not any(Follow.wrong)


def test_logs_are_floats_and_what_happened(fit):
    _, watch, _ = fit(Collect(warmup_steps=WARMUP), steps=8, epochs=2)
    for logs in [*watch.epoch_logs, *watch.batch_logs]:
        for name in ("episode_return", "episode_length", "env_steps", "env_steps_per_second"):
            assert type(logs[name]) is float
    assert [logs["env_steps"] for logs in watch.epoch_logs] == [WARMUP + 8, WARMUP + 16]
    assert {logs["episode_return"] for logs in watch.epoch_logs} == {5.0}
    assert all(logs["env_steps_per_second"] > 0 for logs in watch.epoch_logs)


def test_episodes_are_absent_from_the_logs_before_one_has_ended(fit):
    env = {"length": WARMUP + 3}
    _, watch, _ = fit(Collect(1, WARMUP, updates_per_turn=1), steps=4, epochs=2, env=env)
    assert ["episode_return" in logs for logs in watch.batch_logs] == [False] * 2 + [True] * 6
    # The second epoch, in which none ends, repeats what is known.
    assert [logs["episode_return"] for logs in watch.epoch_logs] == [WARMUP + 3.0] * 2


@pytest.mark.fault(24)
def test_an_environment_that_never_ends_logs_no_episodes(fit):
    _, watch, _ = fit(Collect(warmup_steps=WARMUP), steps=4, env={"length": 10**6})
    assert np.isnan(watch.epoch_logs[0]["episode_return"])
    assert np.isnan(watch.epoch_logs[0]["episode_length"])


def test_the_means_are_of_the_episodes_that_ended_in_the_epoch(fit, tiny_env, small_replay):
    lengths = iter([30, 10, 4, 4, 8, 100])

    class Varying(tiny_env):
        def reset(self, **arguments):
            self.length = next(lengths)
            return super().reset(**arguments)

    env = Varying()
    agent, _, _ = fit(Collect(warmup_steps=WARMUP), steps=1)
    history = agent.fit(
        env,
        steps_per_epoch=16,
        epochs=2,
        batch_size=4,
        callbacks=[Collect(warmup_steps=32)],
        replay=small_replay(),
        verbose=0,
    ).history
    # The first epoch takes steps 1 to 48, the warm-up with them, the second steps 49 to 64.
    assert history["episode_length"] == [(30 + 10 + 4 + 4) / 4, 8.0]
    assert history["episode_return"] == history["episode_length"]


@pytest.mark.fault(18)
def test_a_truncated_episode_is_one_and_bootstraps(fit):
    with Uniform(64) as replay:
        arguments = {"replay": replay, "env": {"truncates": True}}
        _, watch, _ = fit(Collect(warmup_steps=64), **arguments)
        (batch,) = replay.dataset(64).take(1)
    assert watch.epoch_logs[0]["episode_length"] == 5.0
    assert (batch["discount"].numpy() == 1).all()


def test_rewards_are_scaled_to_learn_from_and_not_to_log(fit, make_agent):
    agent = make_agent("dqn", {"run_eagerly": True}, reward_scale=0.5, n_step=2, discount=0.5)
    with Uniform(64) as replay:
        _, watch, _ = fit(Collect(warmup_steps=64), agent=agent, replay=replay)
        (batch,) = replay.dataset(64).take(1)
    # Rewards of 1: of two steps, or of the last one of an episode.
    assert set(batch["reward"].numpy()) == {0.5 + 0.5 * 0.5, 0.5}
    assert watch.epoch_logs[0]["episode_return"] == 5.0


def test_normalisation_adapts_to_what_was_observed(tiny_env, small_replay):
    class Watching(tiny_env):
        """Keeps the observations that were acted on."""

        seen = []

        def reset(self, **arguments):
            self.observation = super().reset(**arguments)[0]
            return self.observation, {}

        def step(self, action):
            self.seen.append(self.observation)
            self.observation, *rest = super().step(action)
            return self.observation, *rest

    agent = kerasrl.DQN(n_step=1, normalize_observations=True)
    agent.compile(run_eagerly=True)
    agent.fit(
        Watching(),
        steps_per_epoch=8,
        batch_size=4,
        callbacks=[Collect(1, WARMUP, updates_per_turn=1)],
        replay=small_replay(),
        verbose=0,
    )
    # The warm-up counts; the step after the last update came after the last adaptation.
    (layer,) = agent.observation_normalizers
    assert int(layer.count) == WARMUP + 7
    seen = np.array(Watching.seen)[:-1]
    np.testing.assert_allclose(layer.means[0], seen.mean(axis=0), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(layer.variances[0], seen.var(axis=0), rtol=1e-4)


class Counts(keras.callbacks.Callback):
    """Notes how many observations the normalisers have counted when the first execution begins."""

    def on_train_batch_begin(self, batch, logs=None):
        if batch == 0:
            self.counts = [int(layer.count) for layer in self.model.observation_normalizers]
            copies = self.model.target_network.network.layers
            self.counts += [int(layer.count) for layer in copies if hasattr(layer, "count")]


@pytest.mark.regression(30)
def test_normalisers_have_counted_the_warm_up_before_the_first_execution(tiny_env, tmp_path):
    def fit(**arguments):
        agent, counts = kerasrl.DQN(n_step=1, normalize_observations=True), Counts()
        agent.compile(run_eagerly=True)
        collect = Collect(env_steps_per_update=1, warmup_steps=150)
        kept = kerasrl.callbacks.Checkpoint(tmp_path / "run", replay=False)
        callbacks = [collect, counts, kept]
        arguments |= {"batch_size": 4, "steps_per_epoch": 2, "callbacks": callbacks, "verbose": 0}
        agent.fit(tiny_env(), **arguments)
        return agent, counts.counts

    agent, counts = fit(epochs=1)
    assert counts == [150, 150]
    (layer,) = agent.observation_normalizers
    before = int(layer.count)
    # The run goes on with an empty replay, for which as many are collected again.
    with pytest.warns(match="no contents of the replay"):
        _, counts = fit(epochs=2)
    assert counts == [before + 150] * 2


@pytest.mark.parametrize(
    "arguments",
    [
        {"env_steps_per_update": 0},
        {"env_steps_per_update": -1},
        {"env_steps_per_update": math.inf},
        {"env_steps_per_update": math.nan},
        {"warmup_steps": -1},
        {"warmup_steps": 1.5},
    ],
    ids=repr,
)
def test_bad_arguments_are_refused(arguments):
    with pytest.raises(ArgumentError, match=next(iter(arguments))):
        Collect(**arguments)
