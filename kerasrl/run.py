"""What a running `fit` is made of, and what callbacks see of it and of the agent."""

import dataclasses
import os
from typing import Any, Protocol

import keras
import numpy as np
import tensorflow as tf

from kerasrl import envs
from kerasrl.saving import Saved


@dataclasses.dataclass
class Run:
    """What a running `fit` offers to callbacks, as `self.model.run`.

    Args:
        environments: `Environments` to collect in; None when training on a dataset.
        replay: the `Replay` that is trained on; a `Fixed` one when that is a dataset.
        batch_size: int, examples in a batch; None for all of a rollout.
        callbacks: list of the callbacks at work, but for Keras's own History and progress bar.
        seed: int or None, as given to `fit`.
        env_steps: int or None, the budget of environment steps.
        faults: `FaultPolicy`, what is done when an environment fails.
        resumed: `Resumed`, the checkpoint that is gone on from; None for a new run.
        within_epoch: bool, whether the next epoch to begin had begun before a break.
        keras_callbacks: Keras's list of all callbacks.
    """

    environments: Any = None
    replay: Any = None
    batch_size: int | None = None
    callbacks: list[keras.callbacks.Callback] = dataclasses.field(default_factory=list)
    seed: int | None = None
    env_steps: int | None = None
    faults: envs.FaultPolicy = envs.FaultPolicy()
    resumed: Any = None
    within_epoch: bool = False
    keras_callbacks: Any = None

    @property
    def collector(self) -> Any:
        """The callback that collects, in a run in environments; else None."""
        return next((c for c in self.callbacks if hasattr(c, "experience_spec")), None)


class Fitted(Saved, Protocol):
    """An agent that `fit` is at work on, as far as callbacks and checkpoints know it."""

    run: Run
    observation_space: Any
    action_space: Any
    env_steps: tf.Variable
    gradient_steps: tf.Variable
    settings: tuple[str, ...]
    reward_scale: float
    update_epochs: int
    stop_training: bool
    steps_per_execution: tf.Variable
    history: keras.callbacks.History

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """The running means that `train_step` returns."""

    @property
    def targets(self) -> list[Any]:
        """The target networks."""

    @property
    def observation_normalizers(self) -> list[Any]:
        """The layers that adapt to what is observed, those of target networks aside."""

    def build(self, env: Any) -> None:
        """Builds the networks for an environment, or sees that they are for its spaces."""

    def adapt(self, observation: Any) -> None:
        """Adapts the normalisers to a nest of observations `[M, ...]`."""

    def make_policy(
        self, spec: Any, num_envs: int = 1, rng: np.random.Generator | None = None
    ) -> Any:
        """Makes the `kerasrl.policies.Policy` that acts: greedily, or exploring with `rng`."""

    def experience(self) -> Any:
        """What an item of the replay is, where `Collect` writes it."""

    def evaluate(self, x: Any, *, episodes: int = 10) -> Any:
        """Runs greedy episodes."""

    def get_weights(self) -> list[np.ndarray]:
        """The variables' values."""

    def get_metrics_result(self) -> dict[str, Any]:
        """The metrics' values by their names."""

    def make_room_for_priorities(self, batch_size: int) -> None:
        """Makes room for the priorities of all gradient steps of an execution."""

    def take_priorities(self) -> tuple[np.ndarray, np.ndarray]:
        """The keys and priorities that `train_step` has handed over since the last time."""

    def save(self, filepath: str | os.PathLike[str]) -> None:
        """Writes the whole agent to a file."""

    def export_policy(
        self,
        directory: str | os.PathLike[str],
        format: str = "saved_model",
        results: dict[str, float] | None = None,
    ) -> None:
        """Writes the policy for use without the agent."""


class AgentCallback(keras.callbacks.Callback):
    """A callback of kerasrl's own: `self.model` is an agent that `fit` is at work on."""

    model: Fitted
