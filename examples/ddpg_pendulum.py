"""Deep deterministic policy gradient on Pendulum-v1."""

from common import Story

import kerasrl

story = Story(__doc__, env_steps=20_000)

agent = kerasrl.DDPG(discount=0.98)
agent.compile()
history = agent.fit(
    "Pendulum-v1",
    env_steps=story.env_steps,
    validation_data="Pendulum-v1",
    seed=story.seed,
    callbacks=[kerasrl.callbacks.Collect(env_steps_per_update=1, warmup_steps=1_000)],
)
story.report(agent, "Pendulum-v1", history)
