"""Trains SAC on the pendulum, evaluates it, and draws its learning curve as quickstart.png."""

import keras
import matplotlib.pyplot as plt
from common import Story

import kerasrl

story = Story(__doc__, env_steps=10_000)

agent = kerasrl.SAC()
agent.compile(
    actor_optimizer=keras.optimizers.Adam(1e-3),
    critic_optimizer=keras.optimizers.Adam(1e-3),
    temperature_optimizer=keras.optimizers.Adam(1e-3),
    steps_per_execution=16,
)
history = agent.fit(
    "Pendulum-v1",
    env_steps=story.env_steps,
    validation_data="Pendulum-v1",
    seed=story.seed,
).history

plt.plot(history["env_steps"], history["episode_return"], label="while collecting")
plt.plot(history["env_steps"], history["val_episode_return"], label="greedy")
plt.xlabel("environment steps")
plt.ylabel("episode return")
plt.title("SAC on Pendulum-v1")
plt.legend()
plt.grid(alpha=0.3)
plt.savefig("quickstart.png", dpi=150)
print("The learning curve is in quickstart.png.")
story.report(agent, "Pendulum-v1")
