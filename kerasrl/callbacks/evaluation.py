"""Evaluation while training."""

from typing import Any

import keras

from kerasrl import envs
from kerasrl.arguments import seed_of, whole
from kerasrl.policies.episodes import MAX_EPISODE_STEPS, check_max_episode_steps


class Evaluation(keras.callbacks.Callback):
    """Runs greedy episodes at the end of every so many epochs and logs what they were worth.

    It adds `val_episode_return` and `val_episode_length`, means over the episodes, and
    `val_episode_return_std`, the returns' population standard deviation, to the logs.
    `fit(validation_data=env)` makes one of these. The `on_test_*` methods of the run's callbacks
    are called, as by Keras; a batch is an episode.

    Args:
        env: whatever `fit` takes as environment; better not the one that is trained on.
        episodes: int, per evaluation.
        every_epochs: int, epochs from one evaluation to the next.
        seed: int, makes every evaluation begin with the same episodes.
        max_episode_steps: int, steps after which an episode that has not ended is broken off, with
            a warning, and counts as it is so far; None for no limit.

    Raises:
        ArgumentError: when `episodes`, `every_epochs` or `max_episode_steps` is less than 1.
    """

    log_names = ("val_episode_return", "val_episode_return_std", "val_episode_length")

    def __init__(
        self,
        env: Any,
        episodes: int = 10,
        every_epochs: int = 1,
        seed: int | None = None,
        max_episode_steps: int | None = MAX_EPISODE_STEPS,
    ):
        super().__init__()
        check_max_episode_steps(max_episode_steps)
        self.env = env
        self.episodes = whole("episodes", episodes)
        self.every_epochs = whole("every_epochs", every_epochs)
        self.seed = seed_of(seed)
        self.max_episode_steps = max_episode_steps
        self._environments: envs.Environments | None = None

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Makes the environment, so that a mistake shows before training."""
        self._environments = envs.make(self.env, faults=faults_of(self.model))
        self.model.build(self._environments.spec)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Evaluates if it is due."""
        if (epoch + 1) % self.every_epochs:
            return
        results = self.model.evaluate(
            self._environments,
            episodes=self.episodes,
            seed=self.seed,
            max_episode_steps=self.max_episode_steps,
            verbose=0,
            callbacks=self.model.run.keras_callbacks,
            return_dict=True,
        )
        if logs is not None:
            logs.update({f"val_{name}": value for name, value in results.items()})

    def close(self) -> None:
        """Closes the environment if it was made here; called by `fit`, whatever happens."""
        if self._environments is not None:
            self._environments.close()
            self._environments = None


def faults_of(agent: keras.Model) -> envs.FaultPolicy:
    """What the agent's run does when an environment fails; outside of `fit`, the default."""
    return envs.FaultPolicy() if agent.run is None else agent.run.faults
