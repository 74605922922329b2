"""A2C on CartPole-v1, in eight environments, with a learning rate that falls."""

from common import Story

import kerasrl

story = Story(__doc__, env_steps=500_000)

agent = kerasrl.A2C()
agent.compile()
history = agent.fit(
    "CartPole-v1",
    env_steps=story.env_steps,
    num_envs=8,
    validation_data="CartPole-v1",
    seed=story.seed,
    callbacks=[
        kerasrl.callbacks.LinearSchedule(
            "optimizer.learning_rate", 7e-4, 0.0, env_steps=story.env_steps
        ),
    ],
)
story.report(agent, "CartPole-v1", history)
