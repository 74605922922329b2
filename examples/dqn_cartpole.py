"""Double DQN with five-step returns on CartPole-v1."""

import keras
from common import Story

import kerasrl

story = Story(__doc__, env_steps=50_000)

agent = kerasrl.DQN(double=True, n_step=5)
agent.compile(keras.optimizers.Adam(1e-3))
history = agent.fit(
    "CartPole-v1",
    env_steps=story.env_steps,
    validation_data="CartPole-v1",
    seed=story.seed,
    callbacks=[
        kerasrl.callbacks.Collect(env_steps_per_update=1, warmup_steps=1_000),
        kerasrl.callbacks.TargetUpdate(period=1, step_size=0.005),
        kerasrl.callbacks.LinearSchedule("epsilon", 1.0, 0.02, env_steps=5_000),
        kerasrl.callbacks.LinearSchedule(
            "optimizer.learning_rate", 1e-3, 0.0, env_steps=story.env_steps
        ),
    ],
)
story.report(agent, "CartPole-v1", history)
