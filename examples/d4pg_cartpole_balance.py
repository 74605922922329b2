"""D4PG on the cart-pole of the DeepMind control suite, as in Acme's tutorial: 50 episodes."""

import keras
from common import Story

import kerasrl

CARTPOLE = "dm_control/cartpole-balance-v0"

story = Story(__doc__, env_steps=50_000)

agent = kerasrl.D4PG(v_min=0.0, v_max=100.0)
agent.compile(
    actor_optimizer=keras.optimizers.Adam(3e-4),
    critic_optimizer=keras.optimizers.Adam(3e-4),
)
history = agent.fit(
    CARTPOLE,
    env_steps=story.env_steps,
    validation_data=CARTPOLE,
    seed=story.seed,
    callbacks=[kerasrl.callbacks.Collect(env_steps_per_update=4, warmup_steps=1_000)],
)
story.report(agent, CARTPOLE, history)
