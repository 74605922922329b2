"""Files of both stacks, each of which either stack reads: `python tests/travelling.py` writes them.

There is a directory for each of the Kerases in `tests/saving/files`; run it on both when what is
written changes.
"""

import shutil
from pathlib import Path

import gymnasium as gym
import keras
import numpy as np

import kerasrl
from kerasrl.networks import (
    MLP,
    DiscreteValuedHead,
    DuelingHead,
    LayerNormMLP,
    ObservationNormalization,
)

FILES = Path(__file__).parent / "saving" / "files"
STACKS = ("keras_2", "keras_3")
HERE = f"keras_{keras.__version__[0]}"
EXPORTED = ("dqn", "sac")
DISCRETE = ("reinforce", "a2c", "ppo", "dqn", "networks of one's own", "schedules")


def mlp(inputs, outputs):
    return keras.Sequential([keras.Input((inputs,)), LayerNormMLP((8,)), MLP((8,)), outputs])


def values(inputs, outputs=2):
    return mlp(inputs, keras.layers.Dense(outputs))


def critic(head=None):
    inputs = [keras.Input((3,)), keras.Input((1,))]
    hidden = MLP((8,))(keras.layers.Concatenate()(inputs))
    return keras.Model(inputs, (head or keras.layers.Dense(1))(hidden), name="critic")


def network():
    """Layers of Keras and of kerasrl, one of them in two places, dropout, and a frozen one."""
    inputs, dense = keras.Input((4,)), keras.layers.Dense(4, "swish")
    hidden = dense(dense(ObservationNormalization()(inputs)))
    hidden = keras.layers.Dropout(0.1)(keras.layers.BatchNormalization()(hidden))
    recurrent = keras.layers.LSTM(3)(keras.layers.Reshape((2, 2))(hidden))
    frozen = keras.layers.Dense(3, "tanh", trainable=False)(hidden)
    joint = keras.layers.Concatenate()([recurrent, frozen, LayerNormMLP((3,))(hidden)])
    return keras.Model(inputs, keras.layers.Dense(2)(joint), name="network")


MAKERS = {
    "reinforce": lambda: kerasrl.REINFORCE(values(4), values(4, 1), baseline=True),
    "a2c": lambda: kerasrl.A2C(values(4), values(4, 1)),
    "ppo": lambda: kerasrl.PPO(values(4), values(4, 1), target_kl=0.1),
    "dqn": lambda: kerasrl.DQN(mlp(4, DuelingHead(2)), double=True, n_step=3),
    "ddpg": lambda: kerasrl.DDPG(values(3, 1), critic()),
    "td3": lambda: kerasrl.TD3(values(3, 1), critic()),
    "sac": lambda: kerasrl.SAC(values(3, 2), critic()),
    "d4pg": lambda: kerasrl.D4PG(values(3, 1), critic(DiscreteValuedHead(-10.0, 0.0, 11))),
    "networks of one's own": lambda: kerasrl.DQN(network(), double=False, n_step=1),
    "schedules": lambda: kerasrl.DQN(values(4), double=False, n_step=1),
}


def observations(agent):
    """Twenty observations of what an agent was made for."""
    rng = np.random.default_rng(0)
    return rng.uniform(-1, 1, (20, *agent.observation_space.shape)).astype(np.float32)


def made(name):
    """An agent that has learnt for a few steps."""
    keras.utils.set_random_seed(0)
    agent = MAKERS[name]()
    if name == "schedules":
        rate = keras.optimizers.schedules.CosineDecay(1e-2, 100)
        agent.compile(keras.optimizers.AdamW(rate, weight_decay=0.01, clipnorm=1.0))
    else:
        agent.compile()
    env = gym.make("CartPole-v1" if name in DISCRETE else "Pendulum-v1")
    agent.fit(env, steps_per_epoch=2, verbose=0, seed=0)
    return agent


def write():
    """Writes the files of the stack that runs this."""
    directory = FILES / HERE
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    expected = {}
    for name in MAKERS:
        agent = made(name)
        agent.save(directory / f"{name}.keras")
        expected[name] = agent.predict(observations(agent), verbose=0)
        if name in EXPORTED:
            agent.save_weights(directory / f"{name}.weights.h5")
            for form in ("saved_model", "tflite"):
                agent.export_policy(directory / f"{name} {form}", form)
    np.savez(directory / "expected.npz", **expected)


if __name__ == "__main__":
    write()
