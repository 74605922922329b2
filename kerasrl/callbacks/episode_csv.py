"""A file of every training episode."""

import contextlib
import csv
import os
import time

import keras

from kerasrl.envs import Episode

_COLUMNS = ("env_steps", "env", "episode_return", "episode_length", "seconds")


class EpisodeCSV(keras.callbacks.Callback):
    """Writes a row to a CSV file for every episode that ends while collecting.

    The columns are `env_steps`, of the agent's life at the episode's end; `env`, the index of its
    environment; `episode_return`, undiscounted; `episode_length`, in steps; and `seconds`, since
    training began. A row is in the file as soon as its episode has ended.

    Args:
        path: str or path of the file; its directory must exist.
        append: bool, whether to go on with the file rather than begin it anew.
    """

    def __init__(self, path: str | os.PathLike[str], append: bool = False):
        super().__init__()
        self.path = path
        self.append = append
        self._resources = contextlib.ExitStack()

    def set_model(self, model: keras.Model) -> None:
        """Opens the file; `on_train_begin` may come after the first episodes, of the warm-up."""
        super().set_model(model)
        self._began = time.perf_counter()
        # One line at a time, so that whoever reads the file meanwhile sees whole rows.
        file = self._resources.enter_context(
            open(self.path, "a" if self.append else "w", buffering=1, newline="")  # noqa: SIM115
        )
        self._writer = csv.writer(file, lineterminator="\n")
        if not file.tell():
            self._writer.writerow(_COLUMNS)

    def on_episode_end(self, episode: Episode, env_steps: int) -> None:
        """Writes a row.

        Args:
            episode: `Episode` that ended.
            env_steps: int, environment steps of the agent's life.
        """
        seconds = round(time.perf_counter() - self._began, 3)
        row = (env_steps, episode.env, episode.episode_return, episode.length, seconds)
        self._writer.writerow(row)

    def close(self) -> None:
        """Closes the file; called by `fit`, whatever happens."""
        self._resources.close()
