"""Trains SAC on the pendulum, evaluates it, and draws its learning curve as quickstart.png."""

import keras
from common import Story

import kerasrl

story = Story(__doc__, env_steps=10_000)

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
random = kerasrl.evaluate("Pendulum-v1", seed=story.seed)  # Actions without an agent.
kerasrl.plot_history(
    history,
    "quickstart.png",
    baseline={"random actions": random["episode_return"]},
    title="SAC on Pendulum-v1",
)
print("The learning curve is in quickstart.png.")
story.report(agent, "Pendulum-v1", history)
