"""A run that was broken off and gone on with ends as one that was not."""

from pathlib import Path

import pytest

SCRIPT = """
import hashlib, os, random, signal, sys, warnings
import numpy as np, tensorflow as tf
tf.config.experimental.enable_op_determinism()
import keras, kerasrl
sys.path.insert(0, TESTS)
from trial_agents.prioritized_dqn import PrioritizedDQN
from trial_agents.recurrent_dqn import RecurrentDQN
from trial_agents.search import SearchAgent
from kerasrl.callbacks import Checkpoint, Collect, CollectEpisodes, CollectRollouts

what, directory = WHAT, DIRECTORY

def network(outputs, *sizes):
    inputs = [keras.Input((size,)) for size in sizes]
    joint = keras.layers.Concatenate()(inputs) if len(inputs) > 1 else inputs[0]
    hidden = keras.layers.Dense(16, "tanh")(joint)
    inputs = inputs if len(inputs) > 1 else inputs[0]
    return keras.Model(inputs, keras.layers.Dense(outputs)(hidden))

def critic(outputs=1):
    return network(outputs, 3, 1)

# The agent, the environment, what collects, the steps of an epoch, the step to break off after.
RUNS = {
    "DQN": (lambda: kerasrl.DQN(n_step=3, normalize_observations=True), "CartPole-v1",
            lambda: Collect(2, 100), 24, 36),
    # A signal waits for the turn of 16 steps that is under way.
    "Background": (lambda: kerasrl.DQN(normalize_observations=True), "CartPole-v1",
                   lambda: Collect(2, 100, background=True), 24, 36),
    "PrioritizedDQN": (lambda: PrioritizedDQN(), "CartPole-v1", lambda: Collect(2, 100), 24, 36),
    "RecurrentDQN": (lambda: RecurrentDQN(16, 8), "CartPole-v1", lambda: Collect(2, 100), 24, 36),
    "SearchAgent": (lambda: SearchAgent(), "CartPole-v1", lambda: Collect(2, 100), 24, 36),
    "SAC": (lambda: kerasrl.SAC(network(2, 3), critic()), "Pendulum-v1",
            lambda: Collect(1, 100), 24, 24),
    "DDPG": (lambda: kerasrl.DDPG(critic=critic()), "Pendulum-v1",
             lambda: Collect(1, 100), 24, 52),
    "TD3": (lambda: kerasrl.TD3(critic=critic()), "Pendulum-v1",
            lambda: Collect(1, 100), 24, 28),
    "D4PG": (lambda: kerasrl.D4PG(critic=critic(51)), "Pendulum-v1",
             lambda: Collect(1, 100), 24, 44),
    "PPO": (lambda: kerasrl.PPO(update_epochs=3, target_kl=0.02, normalize_observations=True),
            "CartPole-v1", lambda: CollectRollouts(32), 24, 28),
    "A2C": (lambda: kerasrl.A2C(), "CartPole-v1", lambda: CollectRollouts(8), 24, 28),
    "REINFORCE": (lambda: kerasrl.REINFORCE(), "CartPole-v1",
                  lambda: CollectEpisodes(2, 500), 8, 9),
}

class Break(keras.callbacks.Callback):
    def __init__(self, at):
        super().__init__()
        self.at = at

    def on_train_batch_end(self, batch, logs=None):
        if int(self.model.optimizer.iterations) == self.at:
            os.kill(os.getpid(), signal.SIGTERM)

def digest(arrays):
    content = b"".join(np.ascontiguousarray(array).tobytes() for array in arrays)
    return hashlib.sha256(content).hexdigest()[:16]

def replay_digest(replay):
    info = replay.info()
    if not hasattr(replay, "capacity"):
        return info.current_size
    counts = info.rate_limiter_info.insert_stats.completed, info.current_size
    # Keys are no item's.
    rows = replay._table._sampler.draw(32)[..., : replay.packer.dtype.itemsize]
    return (*counts, replay.size, digest([rows]))

for name in AGENTS:
    make, env, collect, steps_per_epoch, at = RUNS[name]
    keras.utils.set_random_seed(7)
    agent = make()
    agent.compile(steps_per_execution={"PPO": 2, "A2C": 1, "REINFORCE": 1}.get(name, 4))
    queue = name in ("PPO", "A2C", "REINFORCE")
    prioritized = name == "PrioritizedDQN"
    replay = (kerasrl.replay.Prioritized if prioritized else kerasrl.replay.Uniform)(256)
    replay = kerasrl.replay.Queue() if queue else replay
    callbacks = [collect(), keras.callbacks.ReduceLROnPlateau("loss", patience=1, min_delta=10.0)]
    if what != "whole":
        callbacks.append(Checkpoint(f"{directory}/{name}", every_epochs=None))
    if what == "first":
        callbacks.append(Break(at))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)
            history = agent.fit(
                env, epochs=3, steps_per_epoch=steps_per_epoch, num_envs=2, seed=0, verbose=0,
                batch_size={"A2C": 16, "REINFORCE": None}.get(name, 32), replay=replay,
                callbacks=callbacks, validation_data=env if name == "DQN" else None,
            ).history
    except SystemExit:
        at = 40 if name == "Background" else at
        assert what == "first" and int(agent.optimizer.iterations) == at, (name, at)
        continue
    finally:
        if what != "first":
            contents = replay_digest(replay)
        replay.close()
    history.pop("env_steps_per_second")
    history = sorted((name, [float(value) for value in values]) for name, values in history.items())
    optimizers = [v for o in agent.optimized_variables() for v in getattr(agent, o).variables]
    print("RESULT", name, "weights", digest(agent.get_weights()), "optimizers",
          digest([v.numpy() for v in optimizers]), "replay", contents, "random",
          random.random(), np.random.random(), "history", history, flush=True)
"""


def results(output):
    return [line for line in output.splitlines() if line.startswith("RESULT")]


@pytest.mark.fault(49, 50)
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "agents",
    [
        pytest.param(["SAC", "PPO", "Background"], marks=pytest.mark.thorough),
        pytest.param(["DQN", "DDPG", "TD3", "D4PG", "A2C", "REINFORCE"], marks=pytest.mark.slow),
        pytest.param(["PrioritizedDQN", "RecurrentDQN", "SearchAgent"], marks=pytest.mark.slow),
    ],
    ids=" ".join,
)
def test_a_resumed_run_ends_in_the_same_bits(run_python, tmp_path, agents):
    script = SCRIPT.replace("DIRECTORY", repr(str(tmp_path)))
    script = script.replace("TESTS", repr(str(Path(__file__).parent.parent)))
    script = script.replace("AGENTS", repr(agents))
    whole, broken = run_python(
        script.replace("WHAT", "'whole'"), script.replace("WHAT", "'first'"), timeout=250
    )
    assert results(broken) == []
    resumed = run_python(script.replace("WHAT", "'second'"), timeout=250)
    assert len(results(whole)) == len(agents)
    for one, other in zip(results(resumed), results(whole), strict=True):
        assert one == other
