"""The interface of experience: what an item of a replay is, and what writes it."""

import abc
from typing import Any, Protocol

import numpy as np

from kerasrl.envs import EnvSpec, Step
from kerasrl.experience.packing import Packer
from kerasrl.policies.policy import Policy, PolicySpec, PolicyStep


class Sink(Protocol):
    """What a writer writes to: any replay that is open."""

    packer: Packer

    def insert(self, rows: np.ndarray) -> None:
        """Adds a structured array of items, of the packer's dtype."""


class Writer(Protocol):
    """Turns the steps of N environments into items."""

    #: int, items that were inserted since it was made.
    items: int

    def append(self, observation: list[np.ndarray], acted: PolicyStep, step: Step) -> None:
        """Adds one step of every environment, and inserts the items that it makes whole.

        Args:
            observation: list of `[N, ...]` leaf arrays that was acted on.
            acted: the `PolicyStep` that was taken.
            step: the `kerasrl.envs.Step` that followed.
        """

    def get_state(self) -> Any:
        """What is begun and not yet inserted."""

    def set_state(self, state: Any) -> None:
        """Goes on where `get_state` was called."""


class Experience(abc.ABC):
    """What an item is, and what writes it."""

    @abc.abstractmethod
    def spec(self, env_spec: EnvSpec, policy_spec: PolicySpec, num_envs: int) -> dict[str, Any]:
        """One item, as a dict of nests of `tf.TensorSpec`."""

    @abc.abstractmethod
    def writer(self, sink: Sink, num_envs: int, policy: Policy) -> Writer:
        """Makes what writes the items of N environments to a replay.

        Args:
            sink: the open replay.
            num_envs: int, N.
            policy: the policy that acts, for what it says of observations that are not acted on.
        """
