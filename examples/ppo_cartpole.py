"""PPO on CartPole-v1, in eight environments, with a learning rate and a clip range that fall."""

import keras
from common import Story

import kerasrl

story = Story(__doc__, env_steps=99_840)  # 390 rollouts of 8 times 32 steps.

agent = kerasrl.PPO(discount=0.98, gae_lambda=0.8, update_epochs=20)
agent.compile(keras.optimizers.Adam(1e-3, epsilon=1e-5, global_clipnorm=0.5))
history = agent.fit(
    "CartPole-v1",
    env_steps=story.env_steps,
    num_envs=8,
    batch_size=256,
    validation_data="CartPole-v1",
    seed=story.seed,
    callbacks=[
        kerasrl.callbacks.CollectRollouts(length=32),
        kerasrl.callbacks.LinearSchedule(
            "optimizer.learning_rate", 1e-3, 0.0, env_steps=story.env_steps
        ),
        kerasrl.callbacks.LinearSchedule("clip_range", 0.2, 0.0, env_steps=story.env_steps),
    ],
)
story.report(agent, "CartPole-v1", history)
