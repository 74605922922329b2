"""D4PG on MountainCarContinuous-v0, exploring with noise that lasts for some twenty steps."""

import keras
import numpy as np
from common import Story

import kerasrl


class OrnsteinUhlenbeckCollect(kerasrl.callbacks.Collect):
    """Collects with noise that is correlated over time; white noise never leaves the valley."""

    def __init__(self, std: float, damping: float, **kwargs):
        super().__init__(**kwargs)
        self.std = std
        self.damping = damping
        self.noise = 0.0
        self.rng = np.random.default_rng(story.seed)

    def act(self, observation):
        """Greedy actions and noise, of which less and less is left."""
        action = super().act(observation)
        left = max(0.1, 1.0 - self.model.env_steps.numpy() / (0.7 * story.env_steps))
        kept = 1.0 - self.damping
        kick = self.std * np.sqrt(1.0 - kept**2) * self.rng.standard_normal(action.shape)
        self.noise = kept * self.noise + kick
        space = self.model.action_space
        return np.clip(action + left * self.noise, space.low, space.high)


story = Story(__doc__, env_steps=100_000)

agent = kerasrl.D4PG(v_min=-10.0, v_max=100.0, exploration_noise=0.0, discount=0.999)
agent.compile(
    actor_optimizer=keras.optimizers.Adam(3e-4),
    critic_optimizer=keras.optimizers.Adam(3e-4),
)
history = agent.fit(
    "MountainCarContinuous-v0",
    env_steps=story.env_steps,
    validation_data="MountainCarContinuous-v0",
    seed=story.seed,
    callbacks=[
        OrnsteinUhlenbeckCollect(std=1.0, damping=0.05, env_steps_per_update=4),
        *[
            kerasrl.callbacks.LinearSchedule(
                f"{network}_optimizer.learning_rate", 3e-4, 1e-5, env_steps=story.env_steps
            )
            for network in ("actor", "critic")
        ],
    ],
)
story.report(agent, "MountainCarContinuous-v0", history)
