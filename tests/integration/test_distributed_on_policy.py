"""PPO, A2C and REINFORCE under `MirroredStrategy`, on two logical CPUs in a process of its own."""

import pytest

SCRIPT = """
import time
import numpy as np, tensorflow as tf
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)
import gymnasium as gym, keras, kerasrl
from kerasrl.callbacks import CollectRollouts

# One for the whole process: the collective operations of a second one would collide with its own.
mirrored = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
strategies = [mirrored, tf.distribute.get_strategy()]
spec = kerasrl.envs.EnvSpec(gym.spaces.Box(-1, 1, (4,), np.float32), gym.spaces.Discrete(2))
cases = {
    "PPO": (kerasrl.PPO, {"entropy_cost": 0.1}),
    # The first of three minibatches of a rollout is learned from, the second is too far off; then
    # another rollout.
    "PPO with target_kl": (kerasrl.PPO, {"target_kl": 0.1}),
    "A2C": (kerasrl.A2C, {"entropy_cost": 0.1}),
    "REINFORCE": (kerasrl.REINFORCE, {}),
}

def network(outputs):
    hidden = keras.layers.Dense(8, "tanh", kernel_regularizer="l2", activity_regularizer="l2")
    return keras.Sequential([keras.Input((4,)), hidden, keras.layers.Dense(outputs)])

def trained(agent_class, options, strategy, dataset):
    keras.utils.set_random_seed(0)
    with strategy.scope():
        agent = agent_class(network(2), network(1), **options)
        optimizer = keras.optimizers.Adam(0.01)
        if "target_kl" in options:
            optimizer = keras.mixed_precision.LossScaleOptimizer(optimizer, dynamic_growth_steps=2)
        agent.compile(optimizer)
    agent.reseed(0)
    agent.build(spec)
    before = agent.actor.get_weights()
    logs = keras.Model.fit(agent, dataset, verbose=0).history  # `Agent.fit` takes no datasets.
    assert any((a != b).any() for a, b in zip(before, agent.actor.get_weights()))
    return agent, logs, agent.optimizer.iterations.numpy()

def examples(too_far, rollout, rng):
    action = rng.integers(0, 2, 32)
    return {
        "observation": rng.normal(size=(32, 4)).astype("f"),
        "action": action,
        # One replica is far enough off for both.
        "log_prob": np.where(np.arange(32) < 16 * too_far, -2.5, -0.6).astype("f"),
        "value": rng.normal(size=32).astype("f"),
        "advantage": rng.normal(size=32).astype("f"),
        "return": rng.normal(size=32).astype("f"),
        "weight": np.where(np.arange(32) < 24, 4 / 3, 0).astype("f"),  # Another part on each.
        "env_steps": np.full(32, rollout),
        "explained_variance": np.full(32, rollout / 10, "f"),  # The rollout's, on each.
    }

rng = np.random.default_rng(0)
rollouts = [(False, 5), (True, 5), (False, 5), (False, 9)]
batches = [examples(*rollout, rng) for rollout in rollouts]
columns = {key: np.concatenate([batch[key] for batch in batches]) for key in batches[0]}
dataset = tf.data.Dataset.from_tensor_slices(columns)
dataset = dataset.batch(32).with_options(kerasrl.replay.dataset.pipeline_options())
for name, (agent_class, options) in cases.items():
    (two, logs, done), (one, expected, expected_done) = [
        trained(agent_class, options, s, dataset) for s in strategies
    ]
    assert done == expected_done == (2 if "target_kl" in name else 4), (name, done)
    metrics = {id(w) for m in one.metrics for w in m.weights}
    pairs = [*zip(two.weights, one.weights, strict=True)]
    all_variables = kerasrl.training.precision.optimizer_variables
    pairs += zip(*(all_variables(agent.optimizer) for agent in (two, one)), strict=True)
    for v, w in pairs:
        if id(w) in metrics:
            continue  # They are summed over the replicas when they are read, into the logs.
        for copy in mirrored.experimental_local_results(v):
            np.testing.assert_allclose(copy, w, atol=1e-6, rtol=1e-5, err_msg=f"{name} {w.name}")
    for key in expected:
        np.testing.assert_allclose(logs[key], expected[key], rtol=1e-4, atol=1e-6, err_msg=key)
    print(name, "is the same on two replicas")

with mirrored.scope():
    agent = kerasrl.PPO(update_epochs=2, target_kl=1e-9)
    agent.compile(keras.optimizers.Adam(0.1), steps_per_execution=4)
arguments = {"callbacks": [CollectRollouts(16)], "num_envs": 2, "verbose": 0}
history = agent.fit(
    "CartPole-v1", epochs=2, steps_per_epoch=8, batch_size=8, seed=0, **arguments
).history
assert np.isfinite(history["loss"]).all()
assert history["env_steps"] == [32.0, 64.0]
assert agent.optimizer.iterations.numpy() == 2  # The policy has moved after one step of each.
print("CartPole trains")

with mirrored.scope():
    agent = kerasrl.A2C()
    agent.compile()
try:
    agent.fit("CartPole-v1", steps_per_epoch=1, verbose=0)
except kerasrl.errors.ArgumentError as error:
    assert "5 examples, must be a multiple of the number of replicas, 2" in str(error)
    print("odd rollouts are refused")

class Interrupt(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        raise KeyboardInterrupt

# The replicas' batches are asked for ahead of time, here from a queue that stays open.
with kerasrl.replay.Queue() as queue:
    for callbacks in ([], [Interrupt()]):
        try:
            agent.fit(
                "CartPole-v1", steps_per_epoch=2, num_envs=2, callbacks=callbacks, replay=queue,
                verbose=0,
            )
            print("a run ends")
        except KeyboardInterrupt:
            print("an interrupted run ends")

class SlowEvaluation(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        time.sleep(1.5)

# It may take longer until the next rollout is begun than the queue would wait for it.
with kerasrl.replay.Queue(timeout=1) as queue:
    agent.fit(
        "CartPole-v1", epochs=3, steps_per_epoch=1, num_envs=2, callbacks=[SlowEvaluation()],
        replay=queue, verbose=0,
    )
    print("a slow evaluation is waited for")
"""


@pytest.mark.slow
def test_two_replicas_do_what_one_does(run_python):
    output = run_python(SCRIPT)
    for line in (
        "PPO is the same on two replicas",
        "PPO with target_kl is the same on two replicas",
        "A2C is the same on two replicas",
        "REINFORCE is the same on two replicas",
        "CartPole trains",
        "odd rollouts are refused",
        "a run ends",
        "an interrupted run ends",
        "a slow evaluation is waited for",
    ):
        assert line in output
