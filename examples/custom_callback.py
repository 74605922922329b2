"""Callbacks of one's own: one that stops when the task is solved, one that explores otherwise."""

import keras
import numpy as np
from common import Story

import kerasrl
from kerasrl.policies import random_actions


class StopAt(keras.callbacks.Callback):
    """Stops training when the evaluation reaches a return."""

    def __init__(self, episode_return: float):
        super().__init__()
        self.episode_return = episode_return

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Looks at what `Evaluation` logged."""
        if logs["val_episode_return"] >= self.episode_return:
            print(f"\nSolved after {logs['env_steps']:.0f} environment steps.")
            self.model.stop_training = True


class NoisyCollect(kerasrl.callbacks.Collect):
    """Collects with a random action in every `period`-th step, whatever epsilon is."""

    def __init__(self, period: int, **kwargs):
        super().__init__(**kwargs)
        self.period = period
        self.count = 0
        self.rng = np.random.default_rng(0)

    def act(self, observation):
        """Chooses the actions to collect with, in place of the agent's own way."""
        self.count += 1
        if self.count % self.period == 0:
            return random_actions(self.model.action_space, len(observation[0]), self.rng)
        return super().act(observation)


story = Story(__doc__, env_steps=50_000)
agent = kerasrl.DQN(double=True, n_step=5)
agent.compile()
history = agent.fit(
    "CartPole-v1",
    env_steps=story.env_steps,
    epochs=25,
    validation_data="CartPole-v1",
    seed=story.seed,
    callbacks=[
        NoisyCollect(period=50, env_steps_per_update=1, warmup_steps=1_000),
        kerasrl.callbacks.TargetUpdate(period=1, step_size=0.005),
        StopAt(475.0),
    ],
)
story.report(agent, "CartPole-v1", history)
