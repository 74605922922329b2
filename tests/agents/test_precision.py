"""Mixed precision: steps against those of float32, scales of losses, what acts and is saved."""

import contextlib

import gymnasium as gym
import keras
import numpy as np
import pytest
import tensorflow as tf

import kerasrl
from kerasrl.callbacks import Collect, CollectEpisodes, CollectRollouts
from kerasrl.compatibility import KERAS_3, dtype_of, make_variables
from kerasrl.errors import NetworkError
from kerasrl.policies import PolicySnapshot

OFF_POLICY = ("dqn", "sac", "ddpg", "td3", "d4pg")
ON_POLICY = ("ppo", "a2c", "reinforce")
KINDS = OFF_POLICY + ON_POLICY
BOX = gym.spaces.Box(-1, 1, (2,), np.float32)


@contextlib.contextmanager
def policy(name):
    """Has layers be made under a policy of precision."""
    before = keras.mixed_precision.global_policy()
    keras.mixed_precision.set_global_policy(name)
    try:
        yield
    finally:
        keras.mixed_precision.set_global_policy(before)


def scale_variables(optimizer):
    """The scale of the loss, and the steps since it changed."""
    return kerasrl.training.precision.scale_variables(optimizer)


def env_of(kind, tiny_env):
    return tiny_env(action_space=BOX if kind in OFF_POLICY[1:] else None)


def made(kind, tiny_env, dtype, rate=0.1):
    """An agent of networks of one precision, whose weights are the same for all precisions."""
    keras.utils.set_random_seed(0)

    def network(outputs):
        inputs = keras.Input((4,))
        hidden = keras.layers.Dense(8, "tanh", dtype=dtype)(inputs)
        return keras.Model(inputs, keras.layers.Dense(outputs, dtype=dtype)(hidden))

    def critic(outputs):
        inputs = [keras.Input((4,)), keras.Input((2,))]
        hidden = keras.layers.Concatenate(dtype=dtype)(inputs)
        hidden = keras.layers.Dense(8, "tanh", dtype=dtype)(hidden)
        return keras.Model(inputs, keras.layers.Dense(outputs, dtype=dtype)(hidden))

    if kind == "dqn":
        networks = [network(2)]
    elif kind in ON_POLICY:
        networks = [network(2), network(1)]
    else:
        networks = [network(4 if kind == "sac" else 2), critic(51 if kind == "d4pg" else 1)]
    options = {"td3": {"policy_delay": 1}, "d4pg": {"v_min": -1, "v_max": 1}}
    agent = getattr(kerasrl, kind.upper())(*networks, **options.get(kind, {}))
    agent.build(env_of(kind, tiny_env))
    optimizers = {name: keras.optimizers.SGD(rate) for name in agent.optimized_variables()}
    agent.compile(**optimizers, run_eagerly=True)
    for name, variables in agent.optimized_variables().items():
        make_variables(getattr(agent, name), variables)
    agent.reseed(0)
    return agent


def stepped(agent, batches, examples, size):
    """The change of all weights by a step on rewards of a size, and what was logged."""
    kind = type(agent).__name__.lower()
    if kind in ON_POLICY:
        batch = examples(agent)
        scaled = ("advantage", "return")
    else:
        batch = {k: v.numpy() for k, v in next(iter(batches(agent))).items()}
        scaled = ("reward",)
    for column in scaled:
        batch[column] = size * batch[column]
    variables = tf.nest.flatten(list(agent.optimized_variables().values()))
    before = [v.numpy() for v in variables]
    logs = agent.train_step({k: tf.constant(v) for k, v in batch.items()})
    assert all(value.dtype == tf.float32 for value in logs.values())
    assert all(v.dtype == tf.float32 for v in variables)
    return np.concatenate([(v.numpy() - b).ravel() for v, b in zip(variables, before, strict=True)])


@pytest.mark.regression(8)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.table
def test_a_step_is_that_of_float32(kind, tiny_env, batches, examples):
    full = stepped(made(kind, tiny_env, None), batches, examples, 1e-3)
    for dtype, tolerance in (("mixed_float16", 0.002), ("mixed_bfloat16", 0.02)):
        mixed = stepped(made(kind, tiny_env, dtype), batches, examples, 1e-3)
        error = np.linalg.norm(mixed - full) / np.linalg.norm(full)
        assert error < tolerance, (dtype, error)


@pytest.mark.regression(8)
def test_small_gradients_do_not_vanish(tiny_env, batches, examples):
    """Those of rewards of 1e-6 are less than a float16 can be, but for the scale of the loss."""
    full, mixed = (
        stepped(made("a2c", tiny_env, each), batches, lambda a: small(examples(a)), 1.0)
        for each in (None, "mixed_float16")
    )
    kernels = slice(0, 32)  # The first of the actor.
    ratio = mixed[kernels] @ full[kernels] / (full[kernels] @ full[kernels])
    np.testing.assert_allclose(ratio, 1.0, atol=0.01)


def small(batch):
    return batch | {"advantage": 1e-6 * batch["advantage"]}


@pytest.mark.regression(8)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.table
def test_every_optimizer_scales_its_loss(kind, tiny_env):
    agent = made(kind, tiny_env, "mixed_float16")
    for name in agent.optimized_variables():
        assert isinstance(getattr(agent, name), keras.mixed_precision.LossScaleOptimizer), name
    assert agent.optimizer in [getattr(agent, name) for name in agent.optimized_variables()]
    agent = made(kind, tiny_env, "mixed_bfloat16")
    assert type(agent.optimizer).__name__ == "SGD"


@pytest.mark.regression(8)
def test_an_overflow_skips_the_step_and_halves_the_scale(tiny_env, batches, examples):
    agent = made("dqn", tiny_env, "mixed_float16")
    scale, good = scale_variables(agent.optimizer)
    scale.assign(2.0**30)
    change = stepped(agent, batches, examples, 1.0)
    assert (change == 0).all()
    assert float(scale) == 2.0**29 and int(good) == 0
    assert int(agent.optimizer.iterations) == (0 if KERAS_3 else 1)  # Keras 3 counts no such step.


def fitted(kind, tiny_env, **arguments):
    agent = getattr(kerasrl, kind.upper())(**arguments)
    agent.compile()
    collector = Collect(warmup_steps=64)
    if kind in ON_POLICY:
        collector = CollectEpisodes(2, 8) if kind == "reinforce" else CollectRollouts(8)
    history = agent.fit(
        env_of(kind, tiny_env),
        steps_per_epoch=2,
        batch_size=8 if kind not in ("a2c", "reinforce") else None,
        callbacks=[collector],
        seed=0,
        verbose=0,
    ).history
    assert np.isfinite(history["loss"]).all()
    return agent


FAST = {("mixed_float16", "d4pg"), ("float64", "dqn")}
TRAINED = [
    pytest.param(name, kind, marks=[] if (name, kind) in FAST else [pytest.mark.slow])
    for name in ("mixed_float16", "mixed_bfloat16", "float64")
    for kind in KINDS
]


@pytest.mark.regression(8)
@pytest.mark.parametrize(("name", "kind"), TRAINED)
@pytest.mark.table
def test_default_networks_train_and_act(name, kind, tiny_env, recwarn):
    with policy(name):
        options = {"baseline": True} if kind == "reinforce" else {}
        agent = fitted(kind, tiny_env, normalize_observations=True, **options)
    observation = np.zeros((3, 4), np.float32)
    assert agent.policy(observation).dtype == tf.float32
    assert agent(observation).numpy().dtype == agent.action_space.dtype
    if name != "float64":
        assert not [w for w in recwarn if "TensorFlow Lite" in str(w.message)]
    assert {dtype_of(v) for v in agent.variables} <= {
        tf.int64,
        tf.float32,
        *([tf.float64] if name == "float64" else []),
    }


@pytest.mark.regression(8)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.table
def test_variables_in_less_than_float32_are_refused(kind, tiny_env):
    with policy("float16"):
        agent = getattr(kerasrl, kind.upper())()
        with pytest.raises(NetworkError, match=r"variables of float16.*mixed_float16"):
            agent.build(env_of(kind, tiny_env))
    agent.build(env_of(kind, tiny_env))


@pytest.mark.regression(8)
def test_a_snapshot_acts_in_float32(tiny_env, recwarn):
    inputs = keras.Input((4,))
    hidden = keras.layers.LayerNormalization(dtype="mixed_float16")(inputs)
    hidden = keras.layers.Dense(8, "elu", dtype="mixed_float16")(hidden)
    network = keras.Model(inputs, keras.layers.Dense(2, dtype="mixed_float16")(hidden))
    agent = kerasrl.DQN(network)
    agent.build(tiny_env())
    snapshot = PolicySnapshot(
        lambda observation: tf.cast(network(observation), tf.float32), agent.observation_spec, 3
    )
    x = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    received = snapshot([x])
    assert received.dtype == np.float32
    assert not [w for w in recwarn if "TensorFlow Lite" in str(w.message)]
    np.testing.assert_allclose(received, network(x), atol=5e-3)


@pytest.mark.regression(8)
def test_the_scale_of_a_loss_is_saved(tiny_env, tmp_path):
    agent = made("ddpg", tiny_env, "mixed_float16")
    values = {}
    for i, name in enumerate(agent.optimized_variables()):
        scale, good = scale_variables(getattr(agent, name))
        values[name] = [2.0**i, 7 * i]
        scale.assign(2.0**i)
        good.assign(7 * i)
    agent.save(tmp_path / "agent.keras")
    agent.save_weights(tmp_path / "agent.weights.h5")
    other = made("ddpg", tiny_env, "mixed_float16")
    other.load_weights(tmp_path / "agent.weights.h5")
    for copy in (kerasrl.load(tmp_path / "agent.keras"), other):
        for name, expected in values.items():
            found = [float(v) for v in scale_variables(getattr(copy, name))]
            assert found == expected
