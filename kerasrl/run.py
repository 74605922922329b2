"""What a running `fit` is made of."""

import dataclasses
from typing import Any

import keras

from kerasrl import envs


@dataclasses.dataclass
class Run:
    """What a running `fit` offers to callbacks, as `self.model.run`.

    Args:
        environments: `Environments` to collect in; None when training on a dataset.
        replay: the open replay; None when training on a dataset.
        offline: `OfflineData` when training on a dataset, else None.
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
    offline: Any = None
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
