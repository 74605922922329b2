"""SAC on PyBullet's Minitaur, a walking robot with four legs, as in TF-Agents' tutorial."""

import keras
from common import Story

import kerasrl

MINITAUR = "kerasrl/MinitaurBullet-v0"
EPOCH = 20_000  # Environment steps from one evaluation to the next.

story = Story(__doc__, env_steps=1_000_000)

# Rewards are some thousandths a step; the entropy should not outweigh them for long.
agent = kerasrl.SAC(reward_scale=100.0, temperature=0.1)
agent.compile()
history = agent.fit(
    MINITAUR,
    env_steps=story.env_steps,
    epochs=max(1, story.env_steps // EPOCH),
    seed=story.seed,
    callbacks=[
        kerasrl.callbacks.Evaluation(MINITAUR, episodes=5),
        kerasrl.callbacks.Collect(warmup_steps=min(10_000, story.env_steps // 2)),
        kerasrl.callbacks.StepsPerSecond(),
        kerasrl.callbacks.EpisodeCSV("minitaur-episodes.csv"),
        kerasrl.callbacks.Video("minitaur-videos", MINITAUR, every_epochs=10),
        keras.callbacks.CSVLogger("minitaur.csv"),
    ],
)
story.report(agent, MINITAUR, history)
