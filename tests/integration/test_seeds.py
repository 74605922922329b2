"""A seed makes a run repeatable."""

import keras
import numpy as np
import pytest

import kerasrl
from kerasrl.callbacks import Collect, CollectEpisodes, CollectRollouts

SCRIPT = """
import hashlib
import numpy as np, tensorflow as tf
tf.config.experimental.enable_op_determinism()
import keras, kerasrl

runs = {
    "DQN": (kerasrl.DQN(dueling=True), "CartPole-v1"),
    "SAC": (kerasrl.SAC(), "Pendulum-v1"),
    "PPO": (kerasrl.PPO(update_epochs=3), "CartPole-v1"),
}
for name, (agent, env) in runs.items():
    collect = kerasrl.callbacks.Collect(warmup_steps=100)
    if name == "PPO":
        collect = kerasrl.callbacks.CollectRollouts(32)
    agent.compile(steps_per_execution=4)
    history = agent.fit(
        env, epochs=2, steps_per_epoch=24, batch_size=16, num_envs=2, seed=0, verbose=0,
        callbacks=[collect],
        validation_data=env if env == "CartPole-v1" else None,
    ).history
    weights = b"".join(np.ascontiguousarray(w).tobytes() for w in agent.get_weights())
    digest = hashlib.sha256(weights)
    history.pop("env_steps_per_second")
    print("RESULT", type(agent).__name__, digest.hexdigest(), sorted(history.items()))
"""


@pytest.mark.slow
def test_two_processes_with_one_seed_end_in_the_same_bits(run_python):
    outputs = run_python(SCRIPT, SCRIPT)
    one, other = (
        [line for line in output.splitlines() if line.startswith("RESULT")] for output in outputs
    )
    assert len(one) == 3
    assert one == other


@pytest.fixture
def train(tiny_env):
    """Trains a fresh agent of default networks for a few steps, with a seed or without."""

    def run(kind, seed, env=None):
        agent = getattr(kerasrl, kind.upper())()
        agent.compile(run_eagerly=True)
        collectors = {"reinforce": CollectEpisodes(2, 500)}
        collectors |= dict.fromkeys(("ppo", "a2c"), CollectRollouts(16))
        off_policy = kind in ("dqn", "sac")
        with kerasrl.replay.Uniform(256) if off_policy else kerasrl.replay.Queue() as replay:
            agent.fit(
                env or ("Pendulum-v1" if kind == "sac" else "CartPole-v1"),
                steps_per_epoch=8,
                batch_size=None if kind == "reinforce" else 8,
                seed=seed,
                callbacks=[collectors.get(kind, Collect(warmup_steps=64))],
                replay=replay,
                verbose=0,
            )
        return np.concatenate([np.ravel(w) for w in agent.get_weights()])

    return run


@pytest.mark.parametrize("kind", ["dqn", "sac", "ppo", "a2c", "reinforce"])
@pytest.mark.thorough
def test_one_process_repeats_itself(train, kind):
    first, second, other = (train(kind, seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, second)
    assert (first != other).any()


@pytest.mark.parametrize("kind", ["dqn", "sac", "ppo"])
@pytest.mark.table
def test_runs_without_a_seed_differ(train, kind):
    assert (train(kind, None) != train(kind, None)).any()


def test_a_seed_makes_the_batches_and_the_actions_the_same(train, tiny_env):
    envs = [tiny_env(), tiny_env(), tiny_env()]
    for env, seed in zip(envs, (5, 5, 6), strict=True):
        train("dqn", seed, env)
    first, second, other = (np.array(env.actions) for env in envs)
    np.testing.assert_array_equal(first, second)
    assert (first != other).any()
    assert [env.seeds[0] for env in envs] == [5, 5, 6]


def test_each_environment_has_a_seed_of_its_own(tiny_env):
    made = []

    def factory():
        made.append(tiny_env())
        return made[-1]

    agent = kerasrl.DQN(keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)]))
    agent.compile(run_eagerly=True)
    agent.fit(
        factory,
        num_envs=3,
        steps_per_epoch=1,
        seed=7,
        callbacks=[Collect(warmup_steps=32)],
        verbose=0,
    )
    assert [env.seeds[0] for env in made] == [7, 8, 9]


def test_a_replay_that_was_opened_without_a_seed_is_not_used_with_one_silently(tiny_env):
    agent = kerasrl.DQN(keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)]))
    agent.compile(run_eagerly=True)
    arguments = {"steps_per_epoch": 1, "callbacks": [Collect(warmup_steps=64)], "verbose": 0}
    with kerasrl.replay.Uniform(64) as replay:
        agent.fit(tiny_env(), replay=replay, **arguments)
        with pytest.raises(kerasrl.errors.ReplayError, match="seed"):
            agent.fit(tiny_env(), replay=replay, seed=0, **arguments)
