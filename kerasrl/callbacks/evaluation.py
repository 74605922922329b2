"""Evaluation while training."""

from typing import Any

import keras

from kerasrl import envs
from kerasrl.arguments import seed_of, whole


class Evaluation(keras.callbacks.Callback):
    """Runs greedy episodes at the end of every so many epochs and logs what they were worth.

    It adds `val_episode_return` and `val_episode_length`, means over the episodes, and
    `val_episode_return_std`, the returns' population standard deviation, to the logs.
    `fit(validation_data=env)` makes one of these.

    Args:
        env: whatever `fit` takes as environment; better not the one that is trained on.
        episodes: int, per evaluation.
        every_epochs: int, epochs from one evaluation to the next.
        seed: int, makes every evaluation begin with the same episodes.

    Raises:
        ArgumentError: when `episodes` or `every_epochs` is less than 1.
    """

    def __init__(
        self, env: Any, episodes: int = 10, every_epochs: int = 1, seed: int | None = None
    ):
        super().__init__()
        self.env = env
        self.episodes = whole("episodes", episodes)
        self.every_epochs = whole("every_epochs", every_epochs)
        self.seed = seed_of(seed)
        self._environments: envs.Environments | None = None

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Makes the environment, so that a mistake shows before training."""
        self._environments = envs.make(self.env, faults=self.model.run.faults)
        self.model.build(self._environments.spec)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Evaluates if it is due."""
        if (epoch + 1) % self.every_epochs:
            return
        results = self.model.evaluate(
            self._environments,
            episodes=self.episodes,
            seed=self.seed,
            verbose=0,
            return_dict=True,
        )
        if logs is not None:
            logs.update({f"val_{name}": value for name, value in results.items()})

    def close(self) -> None:
        """Closes the environment if it was made here; called by `fit`, whatever happens."""
        if self._environments is not None:
            self._environments.close()
            self._environments = None
