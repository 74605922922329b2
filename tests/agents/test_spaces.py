"""Observation and action spaces through whole, tiny runs."""

import gymnasium as gym
import keras
import numpy as np
import pytest
import tensorflow as tf

import kerasrl
from kerasrl.callbacks import Collect

Box, Discrete = gym.spaces.Box, gym.spaces.Discrete
NESTED = gym.spaces.Dict(
    {
        "camera": Box(0, 255, (4, 4, 3), np.uint8),
        "body": gym.spaces.Tuple(
            [
                Box(-np.inf, np.inf, (3,), np.float32),
                gym.spaces.Dict({"gear": Discrete(4, start=1)}),
            ]
        ),
        "buttons": gym.spaces.MultiBinary(3),
        "dials": gym.spaces.MultiDiscrete([2, 3]),
    }
)
SCALED = Box(np.float32([[-2, 0], [0, 5]]), np.float32([[2, 1], [1, 6]]), dtype=np.float32)
ACTIONS = {
    "dqn": Discrete(3, start=2),
    "sac": SCALED,
    "ddpg": SCALED,
    "td3": SCALED,
    "d4pg": SCALED,
}
CLASSES = {
    "dqn": kerasrl.DQN,
    "sac": kerasrl.SAC,
    "ddpg": kerasrl.DDPG,
    "td3": kerasrl.TD3,
    "d4pg": kerasrl.D4PG,
}


def run(kind, env, batches=4):
    agent = CLASSES[kind]()
    agent.compile(run_eagerly=True)
    history = agent.fit(
        env,
        steps_per_epoch=batches,
        batch_size=8,
        callbacks=[Collect(warmup_steps=32)],
        validation_data=type(env)(env.observation_space, env.action_space),
        verbose=0,
    ).history
    assert np.isfinite(history["loss"]).all()
    assert history["val_episode_return"] == [5.0]
    return agent


@pytest.mark.fault(16)
@pytest.mark.parametrize("kind", CLASSES)
@pytest.mark.table
def test_nested_observations(tiny_env, kind):
    env = tiny_env(NESTED, ACTIONS[kind])  # It refuses actions that are not of its space.
    agent = run(kind, env)
    observation = tf.nest.map_structure(lambda x: np.asarray(x)[None], env.reset()[0])
    (action,) = agent.predict(observation, verbose=0)
    assert env.action_space.contains(action)


@pytest.mark.fault(16)
@pytest.mark.parametrize("kind", CLASSES)
@pytest.mark.parametrize(
    "space",
    [
        gym.spaces.Tuple([Box(-1, 1, (2,), np.float32), Discrete(3)]),
        gym.spaces.Dict({"only": Box(-1, 1, (2,), np.float32)}),
        Discrete(5, start=-2),
        gym.spaces.MultiDiscrete([[2, 3], [4, 5]]),
        Box(-1, 1, (2, 3), np.float64),
        Box(0, 255, (6, 6, 1), np.uint8),
        Box(-1, 1, (), np.float32),
    ],
    ids=["Tuple", "Dict", "Discrete", "MultiDiscrete", "float64", "image", "scalar"],
)
@pytest.mark.table
def test_default_networks_serve_every_space(tiny_env, kind, space):
    agent = CLASSES[kind]()
    agent.build(tiny_env(space, ACTIONS[kind]))
    observation = tf.nest.map_structure(lambda x: np.asarray(x)[None], space.sample())
    (action,) = agent(observation).numpy()
    assert agent.action_space.contains(action)


@pytest.mark.fault(17)
def test_images_are_scaled_once(tiny_env):
    agent = kerasrl.DQN()
    agent.build(tiny_env(Box(0, 255, (2, 2, 1), np.uint8)))
    (dense,) = [x for x in agent.q_network.layers if isinstance(x, kerasrl.networks.MLP)]
    features = keras.Model(agent.q_network.input, dense.input)
    image = np.uint8([0, 51, 102, 255]).reshape(1, 2, 2, 1)
    np.testing.assert_allclose(features(image), [[0, 0.2, 0.4, 1]], rtol=1e-6)


def test_uint8_images_through_a_convolution_of_the_user(tiny_env):
    layers = [
        keras.Input((6, 6, 1), dtype="uint8"),
        keras.layers.Rescaling(1 / 255),
        keras.layers.Conv2D(2, 3),
        keras.layers.Flatten(),
        keras.layers.Dense(2),
    ]
    agent = kerasrl.DQN(keras.Sequential(layers))
    agent.compile(run_eagerly=True)
    env = tiny_env(Box(0, 255, (6, 6, 1), np.uint8))
    agent.fit(env, steps_per_epoch=2, callbacks=[Collect(warmup_steps=32)], verbose=0)
    assert int(agent.optimizer.iterations) == 2


@pytest.mark.parametrize("kind", [kind for kind in CLASSES if kind != "dqn"])
@pytest.mark.table
def test_float64_actions(tiny_env, kind):
    # As float32, 0.1 is greater, and the environment refuses it.
    env = tiny_env(action_space=Box(-0.1, 0.1, (2,), np.float64))
    agent = run(kind, env)
    outputs = [layer for layer in agent.actor.layers if isinstance(layer, keras.layers.Dense)]
    outputs[-1].bias.assign([50.0, -50.0] if kind != "sac" else [50.0, -50.0, 0.0, 0.0])
    assert agent.evaluate(env, episodes=1, verbose=0)[0] == 5.0
    np.testing.assert_allclose(env.actions[-1], [0.1, -0.1], rtol=1e-6)


@pytest.mark.parametrize("mode", list(gym.vector.AutoresetMode), ids=lambda mode: mode.name)
@pytest.mark.table
def test_vector_environments_of_every_autoreset_mode(mode):
    class Clock(gym.Env):
        """The observation is the time, the reward one more."""

        observation_space = Box(0, 5, (4,), np.float32)
        action_space = Discrete(2)

        def reset(self, *, seed=None, options=None):
            self.time = 0
            return np.zeros(4, np.float32), {}

        def step(self, action):
            self.time += 1
            observation = np.full(4, self.time, np.float32)
            return observation, float(self.time), self.time == 5, False, {}

    env = gym.vector.SyncVectorEnv([Clock, Clock, Clock], autoreset_mode=mode)
    network = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    agent = kerasrl.DQN(network, n_step=1)
    agent.compile(run_eagerly=True)
    with kerasrl.replay.Uniform(128) as replay:
        history = agent.fit(
            env,
            env_steps=96,
            epochs=1,
            batch_size=8,
            replay=replay,
            callbacks=[Collect(warmup_steps=64)],
            verbose=0,
        ).history
        (batch,) = replay.dataset(128).take(1)
    assert history["episode_return"] == [15.0]
    assert history["episode_length"] == [5.0]
    assert 93 < history["env_steps"][0] <= 96
    time = batch["observation"][:, 0]
    np.testing.assert_array_equal(batch["next_observation"][:, 0], time + 1)
    np.testing.assert_array_equal(batch["reward"], time + 1)
    np.testing.assert_array_equal(batch["discount"], np.where(time == 4, 0, 1))
    assert set(time.numpy()) == {0, 1, 2, 3, 4}
    assert not env.closed  # It was given, and stays open.
    env.close()
