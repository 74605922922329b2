"""REINFORCE on the cart-pole of TF-Agents' tutorial: episodes of up to 200 steps, 500 of them."""

import gymnasium as gym
import keras
from common import Story

import kerasrl

story = Story(__doc__, env_steps=100_000)


def cartpole() -> gym.Env:
    """Makes CartPole-v0: CartPole-v1 with shorter episodes."""
    return gym.make("CartPole-v1", max_episode_steps=200)


agent = kerasrl.REINFORCE()
agent.compile(keras.optimizers.Adam(3e-3))
history = agent.fit(
    cartpole,
    epochs=5,
    steps_per_epoch=50,
    env_steps=story.env_steps,
    validation_data=cartpole,
    seed=story.seed,
    callbacks=[kerasrl.callbacks.CollectEpisodes(episodes=2, max_steps=200)],
)
story.report(agent, cartpole, history)
