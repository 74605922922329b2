"""Training under `MirroredStrategy`, on two logical CPUs in a process of its own."""

import pytest

SCRIPT = """
import contextlib
import numpy as np, tensorflow as tf
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)
import gymnasium as gym, keras, kerasrl

box = gym.spaces.Box(-1, 1, (4,), np.float32)
actions = {"DQN": gym.spaces.Discrete(2)}
for name in ("SAC", "DDPG", "TD3", "D4PG"):
    actions[name] = gym.spaces.Box(-2, 1, (2,), np.float32)
rng = np.random.default_rng(0)

def network(outputs):
    hidden = keras.layers.Dense(8, "tanh", kernel_regularizer="l2", activity_regularizer="l2")
    return keras.Sequential([keras.Input((4,)), hidden, keras.layers.Dense(outputs)])

def critic(outputs=1):
    inputs = [keras.Input((4,)), keras.Input((2,))]
    hidden = keras.layers.Dense(8, "tanh", kernel_regularizer="l2", activity_regularizer="l2")
    hidden = hidden(keras.layers.Concatenate()(inputs))
    return keras.Model(inputs, keras.layers.Dense(outputs)(hidden))

def trained(name, strategy, dataset):
    keras.utils.set_random_seed(0)
    with strategy.scope():
        sgd = lambda: keras.optimizers.SGD(0.1)
        if name == "DQN":
            agent = kerasrl.DQN(network(2), double=True)
            agent.compile(sgd())
        elif name == "SAC":
            agent = kerasrl.SAC(network(4), critic())
            agent.compile(sgd(), sgd(), sgd())
        else:
            momentum = lambda: keras.optimizers.SGD(0.1, momentum=0.9)
            if name == "TD3":  # Whose updates of the actor are taken back where none is due.
                momentum = lambda: keras.mixed_precision.LossScaleOptimizer(
                    keras.optimizers.SGD(0.1, momentum=0.9), dynamic_growth_steps=2
                )
            agent = getattr(kerasrl, name)(network(2), critic(51 if name == "D4PG" else 1))
            agent.compile(momentum(), momentum())
    agent.reseed(0)
    agent.build(kerasrl.envs.EnvSpec(box, actions[name]))
    before = agent.get_weights()
    history = agent.fit(
        dataset, callbacks=[kerasrl.callbacks.TargetUpdate(period=2, step_size=0.5)], verbose=0
    ).history
    assert any((a != b).any() for a, b in zip(before, agent.get_weights()))
    return agent, history

def all_variables(agent):
    optimizers = [getattr(agent, name) for name in agent.optimized_variables()]
    scales = [v for each in optimizers for v in kerasrl.training.precision.scale_variables(each)]
    return [*agent.weights, *(v for each in optimizers for v in each.variables), *scales]

# One for the whole process: the collective operations of a second one would collide with its own.
mirrored = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
strategies = [mirrored, tf.distribute.get_strategy()]
assert [s.num_replicas_in_sync for s in strategies] == [2, 1]

for name, space in actions.items():
    count = 32 * 3
    action = rng.integers(0, 2, count) if name == "DQN" else rng.uniform(-2, 1, (count, 2))
    dataset = tf.data.Dataset.from_tensor_slices({
        "observation": rng.normal(size=(count, 4)).astype("f"),
        "action": action.astype(space.dtype),
        "reward": rng.normal(size=count).astype("f"),
        "discount": np.ones(count, "f"),
        "next_observation": rng.normal(size=(count, 4)).astype("f"),
    }).batch(32, drop_remainder=True)
    for batches in (1, 3) if name == "TD3" else (3,):  # Its actor is updated at the second.
        (two, logs), (one, expected) = [trained(name, s, dataset.take(batches)) for s in strategies]
        metrics = {id(w) for agent in (two, one) for m in agent.metrics for w in m.weights}
        for v, w in zip(all_variables(two), all_variables(one), strict=True):
            if id(w) in metrics:
                continue  # They are summed over the replicas when they are read, into the logs.
            for copy in mirrored.experimental_local_results(v):
                np.testing.assert_allclose(copy, w, atol=1e-6, err_msg=f"{name} {batches} {w.name}")
        for key in expected:
            np.testing.assert_allclose(logs[key], expected[key], rtol=1e-5, err_msg=key)
    print(name, "is the same on two replicas")

with mirrored.scope():
    agent = kerasrl.DQN(network(2))
    agent.compile(keras.optimizers.Adam(1e-3), steps_per_execution=4)
collect = kerasrl.callbacks.Collect(warmup_steps=64)
history = agent.fit(
    "CartPole-v1", epochs=2, steps_per_epoch=8, batch_size=32, callbacks=[collect],
    validation_data="CartPole-v1", verbose=0,
).history
assert np.isfinite(history["loss"]).all() and history["val_episode_return"][-1] > 0
assert int(agent.optimizer.iterations.numpy()) == 16
print("CartPole trains")
try:
    agent.fit("CartPole-v1", batch_size=33, steps_per_epoch=1, callbacks=[collect], verbose=0)
except kerasrl.errors.ArgumentError as error:
    assert "multiple of their number, 2" in str(error)
    print("odd batches are refused")
"""


@pytest.mark.thorough
@pytest.mark.fault(58)
def test_two_replicas_do_what_one_does(run_python):
    output = run_python(SCRIPT)
    for line in (
        "DQN is the same on two replicas",
        "SAC is the same on two replicas",
        "DDPG is the same on two replicas",
        "TD3 is the same on two replicas",
        "D4PG is the same on two replicas",
        "CartPole trains",
        "odd batches are refused",
    ):
        assert line in output
