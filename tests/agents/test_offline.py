"""Training on a `tf.data.Dataset` of batches."""

import gymnasium as gym
import keras
import numpy as np
import pytest
import tensorflow as tf

import kerasrl
from kerasrl.callbacks import Collect
from kerasrl.errors import AgentStateError, ArgumentError

KINDS = ("dqn", "sac")
EAGER = {"run_eagerly": True}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.table
def test_an_agent_trains_on_a_dataset(make_agent, batches, kind):
    agent = make_agent(kind)
    before = agent.get_weights()
    history = agent.fit(batches(agent, count=4), epochs=2, verbose=0).history
    rates = {name for name in history if name.endswith("learning_rate")}
    assert set(history) == set(agent.log_names) | rates
    assert len(rates) == len(agent.optimized_variables())
    assert np.isfinite(history["loss"]).all()
    assert int(agent.optimizer.iterations) == 8
    assert int(agent.env_steps) == 0
    moved = [(b != a).any() for b, a in zip(before, agent.get_weights(), strict=True)]
    assert sum(moved) > 4


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.table
def test_the_last_batch_may_be_smaller(make_agent, batches, kind):
    agent = make_agent(kind)
    dataset = batches(agent, count=1, batch_size=20).unbatch().batch(8)
    agent.fit(dataset, verbose=0)
    assert int(agent.optimizer.iterations) == 3


def test_a_dataset_says_nothing_of_the_spaces(make_agent, batches):
    dataset = batches(make_agent("dqn"))
    agent = make_agent("dqn", build=False)
    with pytest.raises(AgentStateError, match=r"cannot tell the spaces.*build\(env\).*validation"):
        agent.fit(dataset, verbose=0)
    assert agent.run is None


def test_validation_data_says_the_spaces(make_agent, batches, tiny_env):
    dataset = batches(make_agent("dqn"))
    agent = make_agent("dqn", build=False)
    env = tiny_env(length=3)
    history = agent.fit(dataset, validation_data=env, verbose=0).history
    assert history["val_episode_return"] == [3.0]
    assert not env.closed


def test_collecting_needs_environments(make_agent, batches):
    agent = make_agent("dqn")
    with pytest.raises(ArgumentError, match="Collect needs environments"):
        agent.fit(batches(agent), callbacks=[Collect()], verbose=0)
    assert agent.run is None


def test_the_same_agent_trains_in_an_environment_and_on_a_dataset(
    make_agent, batches, tiny_env, small_replay
):
    agent = make_agent("dqn")
    arguments = {"steps_per_epoch": 4, "batch_size": 4, "callbacks": [Collect(warmup_steps=32)]}
    agent.fit(tiny_env(), replay=small_replay(), verbose=0, **arguments)
    agent.fit(batches(agent, count=4), verbose=0)
    agent.fit(tiny_env(), replay=small_replay(), verbose=0, **arguments)
    assert int(agent.optimizer.iterations) == 12
    assert int(agent.env_steps) == 72


def test_learning_from_a_dataset_finds_the_better_action(tiny_env):
    # Action 1 is worth 1 and ends the episode, action 0 is worth nothing.
    agent = kerasrl.DQN(keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)]))
    agent.build(tiny_env())
    agent.compile(keras.optimizers.SGD(0.3))
    rng = np.random.default_rng(0)
    action = rng.integers(0, 2, 1024)
    observation = rng.normal(size=(1024, 4)).astype(np.float32)
    batch = {
        "observation": observation,
        "action": action,
        "reward": np.float32(action),
        "discount": np.zeros(1024, np.float32),
        "next_observation": observation,
    }
    agent.fit(tf.data.Dataset.from_tensor_slices(batch).batch(16), epochs=2, verbose=0)
    assert (agent.predict(observation, verbose=0) == 1).all()
    np.testing.assert_allclose(agent.q_network(observation[:8])[:, 1], np.ones(8), atol=0.1)


def changed(dataset, **columns):
    """The dataset with columns put through functions of NumPy arrays."""
    batches = [
        {key: columns.get(key, lambda x: x)(value) for key, value in batch.items()}
        for batch in dataset.as_numpy_iterator()
    ]
    whole = tf.nest.map_structure(lambda *parts: np.concatenate(parts), *batches)
    return tf.data.Dataset.from_tensor_slices(whole).batch(8)


def final(history):
    return {name: values[-1] for name, values in history.history.items()}


SAME = {
    "uint8 actions": ("dqn", {"action": lambda x: x.astype(np.uint8)}),
    "int32 actions": ("dqn", {"action": lambda x: x.astype(np.int32)}),
    "actions in a column": ("dqn", {"action": lambda x: x[:, np.newaxis]}),
    "rewards in a column": ("dqn", {"reward": lambda x: x[:, np.newaxis]}),
    "rewards in a column, D4PG": ("d4pg", {"reward": lambda x: x[:, np.newaxis]}),
    "discounts in a column": ("sac", {"discount": lambda x: x[:, np.newaxis]}),
    "float64 rewards": ("dqn", {"reward": lambda x: x.astype(np.float64)}),
    "float64 observations": ("sac", {"observation": lambda x: x.astype(np.float64)}),
    "float64 next observations": ("dqn", {"next_observation": lambda x: x.astype(np.float64)}),
    "float64 actions": ("sac", {"action": lambda x: x.astype(np.float64)}),
}


@pytest.mark.regression(24)
@pytest.mark.parametrize("case", SAME)
@pytest.mark.table
def test_what_can_be_cast_without_loss_is_the_same_dataset(make_agent, batches, case):
    kind, columns = SAME[case]
    one, other = make_agent(kind, EAGER), make_agent(kind, EAGER)
    dataset = batches(one)
    expected = final(one.fit(dataset, verbose=0))
    assert final(other.fit(changed(dataset, **columns), verbose=0)) == pytest.approx(expected)


WRONG = {
    "float actions for Discrete": (
        "dqn",
        {"action": lambda x: x.astype(np.float32)},
        "action must be int64; received float32, which cannot be cast without loss",
    ),
    "one-hot actions": (
        "dqn",
        {"action": lambda x: np.eye(2, dtype=np.int64)[x]},
        r"action must be a batch, \[None\]; received \[None, 2\]",
    ),
    "narrow observations": (
        "dqn",
        {"observation": lambda x: x[:, :3]},
        r"observation must be a batch, \[None, 4\]; received \[None, 3\]",
    ),
    "wide next observations": (
        "sac",
        {"next_observation": lambda x: np.concatenate([x, x], axis=1)},
        r"next_observation must be a batch, \[None, 4\]; received \[None, 8\]",
    ),
    "narrow actions": (
        "td3",
        {"action": lambda x: x[:, :1]},
        r"action must be a batch, \[None, 2\]; received \[None, 1\]",
    ),
    "rewards of two": (
        "dqn",
        {"reward": lambda x: np.stack([x, x], axis=1)},
        r"reward must be a batch, \[None\]; received \[None, 2\]",
    ),
    "rewards as text": ("dqn", {"reward": lambda x: x.astype(str)}, "reward must be float32"),
    "actions above": ("dqn", {"action": lambda x: x + 1}, "action .*within 0 to 1; received 2"),
    "actions below": ("dqn", {"action": lambda x: x - 1}, "action .*within 0 to 1; received -1"),
    "uint8 actions above": (
        "dqn",
        {"action": lambda x: (x + 200).astype(np.uint8)},
        "action .*within 0 to 1; received 20[01]",
    ),
    "actions beyond a Box": ("ddpg", {"action": lambda x: x * 9}, "action .*-1.0.* to 1.0"),
    "actions that are NaN": ("sac", {"action": lambda x: x * np.nan}, "action .*received nan"),
}


@pytest.mark.regression(24)
@pytest.mark.regression(54)
@pytest.mark.parametrize("case", WRONG)
@pytest.mark.table
def test_a_dataset_that_cannot_be_learned_from_is_refused(make_agent, batches, case):
    kind, columns, rule = WRONG[case]
    agent = make_agent(kind, EAGER)
    before = [variable.numpy() for variable in agent.trainable_variables]
    with pytest.raises(ArgumentError, match=rule):
        agent.fit(changed(batches(agent), **columns), verbose=0)
    assert agent.run is None
    for one, other in zip(before, agent.trainable_variables, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.regression(24)
def test_elements_without_a_batch_dimension_are_refused(make_agent, batches):
    agent = make_agent("dqn")
    with pytest.raises(ArgumentError, match="must be a batch.*single one"):
        agent.fit(batches(agent).unbatch(), verbose=0)


@pytest.mark.regression(24)
def test_a_dataset_whose_shapes_are_not_known_is_checked_as_it_comes(make_agent, batches):
    agent = make_agent("dqn")
    (batch,) = batches(agent).as_numpy_iterator()
    unknown = tf.nest.map_structure(lambda leaf: tf.TensorSpec(None, leaf.dtype), batch)
    dataset = tf.data.Dataset.from_generator(lambda: iter([batch]), output_signature=unknown)
    agent.fit(dataset, steps_per_epoch=1, verbose=0)
    assert int(agent.optimizer.iterations) == 1


class Cloning(kerasrl.DQN):
    """Learns from observations and actions alone."""

    batch_keys = ("observation", "action")
    log_names = ("loss",)

    def train_step(self, batch):
        with tf.GradientTape() as tape:
            logits = self.q_network(batch["observation"], training=True)
            crossed = keras.losses.sparse_categorical_crossentropy(
                batch["action"], logits, from_logits=True
            )
            loss = tf.reduce_mean(crossed)
        self.minimize(loss, tape, self.q_network.trainable_variables, self.optimizer)
        return self.track(loss=loss)


@pytest.mark.regression(24)
def test_an_agent_says_what_a_batch_must_have(make_agent, batches, tiny_env):
    whole = batches(make_agent("dqn"), count=2)
    agent = Cloning(keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)]))
    agent.build(tiny_env())
    agent.compile()
    dataset = whole.map(lambda batch: {key: batch[key] for key in ("observation", "action")})
    agent.fit(dataset, verbose=0)
    assert int(agent.optimizer.iterations) == 2
    with pytest.raises(ArgumentError, match="dicts with .'action', 'observation'.*received .'act"):
        agent.fit(dataset.map(lambda batch: {"action": batch["action"]}), verbose=0)
    with pytest.raises(ArgumentError, match="within 0 to 1; received 2"):
        agent.fit(changed(dataset, action=lambda x: x + 1), verbose=0)


@pytest.mark.regression(4)
@pytest.mark.parametrize("kind", ["dqn", "sac", "ddpg", "td3", "d4pg"])
@pytest.mark.table
def test_rewards_of_a_dataset_are_scaled(make_agent, batches, kind):
    scaled, plain = make_agent(kind, EAGER, reward_scale=100.0), make_agent(kind, EAGER)
    dataset = batches(plain)
    expected = final(plain.fit(changed(dataset, reward=lambda x: 100 * x), verbose=0))
    history = final(scaled.fit(dataset, verbose=0))
    assert history == pytest.approx(expected, rel=1e-4)
    unscaled = final(make_agent(kind, EAGER).fit(dataset, verbose=0))
    assert history["loss"] != pytest.approx(unscaled["loss"])


@pytest.mark.regression(4)
@pytest.mark.parametrize(
    ("kind", "steps_per_execution"), [(kerasrl.DQN, 1), (kerasrl.DQN, 4), (kerasrl.SAC, 1)]
)
@pytest.mark.table
def test_normalisers_adapt_to_a_dataset(tiny_env, batches, kind, steps_per_execution):
    space = gym.spaces.Discrete(2) if kind is kerasrl.DQN else None
    agent = kind(normalize_observations=True)
    agent.build(tiny_env(action_space=space or gym.spaces.Box(-1, 1, (2,), np.float32)))
    eagerly = steps_per_execution == 1
    agent.compile(steps_per_execution=steps_per_execution, run_eagerly=eagerly)
    dataset = changed(batches(agent, count=4), observation=lambda x: 3 + 2 * x)
    agent.fit(dataset, verbose=0)
    seen = np.concatenate([batch["observation"] for batch in dataset.as_numpy_iterator()])
    assert agent.observation_normalizers
    for normalizer in agent.observation_normalizers:
        assert int(normalizer.count) == 32
        np.testing.assert_allclose(normalizer.means[0], seen.mean(axis=0), rtol=1e-4)
        np.testing.assert_allclose(normalizer.variances[0], seen.var(axis=0), rtol=1e-4)


@pytest.mark.regression(4)
def test_a_batch_is_adapted_to_before_it_is_learned_from(tiny_env, batches):
    class Noting(kerasrl.DQN):
        counts = []

        def train_step(self, batch):
            self.counts.append(int(self.observation_normalizers[0].count))
            return super().train_step(batch)

    agent = Noting(normalize_observations=True)
    agent.build(tiny_env())
    agent.compile(run_eagerly=True)
    agent.fit(batches(agent, count=3), verbose=0)
    assert agent.counts == [8, 16, 24]


@pytest.mark.regression(4)
def test_a_run_that_is_gone_on_with_adapts_to_no_batch_twice(tiny_env, batches, tmp_path):
    def trained(*lengths):
        keras.utils.set_random_seed(0)
        agent = kerasrl.DQN(normalize_observations=True)
        agent.build(tiny_env())
        agent.compile(run_eagerly=True)
        agent.reseed(0)
        dataset = batches(agent, count=8)
        checkpoint = kerasrl.callbacks.Checkpoint(tmp_path / str(lengths))
        for epochs in lengths:
            agent.fit(dataset, epochs=epochs, steps_per_epoch=2, callbacks=[checkpoint], verbose=0)
        return agent

    whole, broken = trained(2), trained(1, 2)
    assert int(broken.observation_normalizers[0].count) == 32
    for one, other in zip(whole.get_weights(), broken.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_a_key_of_a_replay_is_left_out(make_agent, batches):
    agent = make_agent("dqn")
    keys = tf.range(8, dtype=tf.int64)
    agent.fit(batches(agent).map(lambda batch: {**batch, "key": keys}), verbose=0)
    assert int(agent.gradient_steps) == 1
