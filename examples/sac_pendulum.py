"""Soft actor-critic on Pendulum-v1."""

import keras
from common import Story

import kerasrl

story = Story(__doc__, env_steps=20_000)

agent = kerasrl.SAC()
agent.compile(
    actor_optimizer=keras.optimizers.Adam(1e-3),
    critic_optimizer=keras.optimizers.Adam(1e-3),
    temperature_optimizer=keras.optimizers.Adam(1e-3),
)
history = agent.fit(
    "Pendulum-v1",
    env_steps=story.env_steps,
    validation_data="Pendulum-v1",
    seed=story.seed,
)
story.report(agent, "Pendulum-v1", history)
