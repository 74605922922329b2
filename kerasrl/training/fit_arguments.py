"""What `fit` was asked for."""

import dataclasses
from typing import Any

import tensorflow as tf

from kerasrl.arguments import seed_of, whole
from kerasrl.envs import FaultPolicy
from kerasrl.training.run_callbacks import verbosity


@dataclasses.dataclass
class FitArguments:
    """The arguments of `Agent.fit` but for the first, checked as far as each goes alone.

    Raises:
        ArgumentError, ArgumentTypeError: when one is out of its range.
    """

    epochs: int | None
    steps_per_epoch: int | None
    env_steps: int | None
    batch_size: int | None
    num_envs: int
    replay: Any
    seed: int | None
    validation_data: Any
    validation_freq: int
    callbacks: Any
    verbose: Any
    initial_epoch: int
    faults: FaultPolicy

    def __post_init__(self) -> None:
        self.seed = seed_of(self.seed)
        self.verbose = verbosity(self.verbose)
        self.epochs = whole("epochs", self.epochs, least=0, optional=True)
        self.num_envs = whole("num_envs", self.num_envs)
        self.initial_epoch = whole("initial_epoch", self.initial_epoch, least=0)
        for name in ("env_steps", "steps_per_epoch", "batch_size"):
            if getattr(self, name) is not None:
                setattr(self, name, whole(name, getattr(self, name)))
        self.callbacks = [] if self.callbacks is None else tf.nest.flatten(self.callbacks)
