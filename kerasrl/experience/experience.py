"""The interface of experience: what an item of a replay is, and what writes it."""

import abc
from typing import Any, Protocol

import numpy as np
import tensorflow as tf

from kerasrl.envs import EnvSpec, Step
from kerasrl.errors import ArgumentError
from kerasrl.experience.packing import Packer
from kerasrl.policies.policy import Policy, PolicySpec, PolicyStep

_NOTHING = PolicySpec()


class Sink(Protocol):
    """What a writer writes to: any replay that is open."""

    @property
    def packer(self) -> Packer:
        """`Packer` of an item."""

    def insert(self, rows: np.ndarray) -> None:
        """Adds a structured array of items, of the packer's dtype."""


class Writer(Protocol):
    """Turns the steps of N environments into items.

    A new one takes every environment to be at the start of an episode. When the environments are
    reset from outside, a new writer has to take its place.
    """

    #: int, items that were inserted since it was made.
    items: int
    #: int, environment steps of the agent's life before the next `append`. Whoever acts sets it
    #: before every turn; a writer whose items tell it counts on from there.
    env_steps: int

    def append(self, observation: list[np.ndarray], acted: PolicyStep, step: Step) -> None:
        """Adds one step of every environment, and inserts the items that it makes whole.

        Args:
            observation: list of `[N, ...]` leaf arrays that was acted on.
            acted: the `PolicyStep` that was taken.
            step: the `kerasrl.envs.Step` that followed.
        """

    def get_state(self) -> dict[str, Any]:
        """What is begun and not yet inserted, as a nest of plain values and arrays."""

    def set_state(self, state: dict[str, Any]) -> None:
        """Goes on where `get_state` was called."""


class Experience(abc.ABC):
    """What an item is, and what writes it.

    Attributes:
        env_steps_per_item: int, environment steps from one item to the next.
    """

    env_steps_per_item: int = 1

    @abc.abstractmethod
    def spec(
        self, env_spec: EnvSpec, policy_spec: PolicySpec = _NOTHING, num_envs: int = 1
    ) -> dict[str, Any]:
        """One item, as a dict of nests of `tf.TensorSpec`.

        Args:
            env_spec: `EnvSpec` of one environment.
            policy_spec: `PolicySpec` of the policy that acts; by default it gives actions alone.
            num_envs: int, environments that are stepped together.

        Raises:
            ArgumentError: when the policy stores something under a name that an item has already.
        """

    @abc.abstractmethod
    def writer(self, sink: Sink, num_envs: int = 1, policy: Policy | None = None) -> Writer:
        """Makes what writes the items of N environments to a replay.

        Args:
            sink: the open replay.
            num_envs: int, N.
            policy: the policy that acts, for what it says of observations that are not acted on;
                None where items do not hold that.

        Raises:
            ReplayError: when the replay is not open, and so does not know what it is to hold.
        """


def with_info(spec: dict[str, Any], info: dict[str, tf.TensorSpec]) -> dict[str, Any]:
    """Adds what a policy stores to the columns of an item.

    Raises:
        ArgumentError: when it has the name of another column.
    """
    taken = sorted(set(spec) & set(info))
    if taken:
        raise ArgumentError(
            f"info_spec() must not have the names of what is stored anyway, {sorted(spec)}; "
            f"received {taken}. Call it otherwise."
        )
    return {**spec, **info}


def check_info(keys: tuple[str, ...], acted: PolicyStep) -> None:
    """Raises `ArgumentError` unless a policy gave what is to be stored beside its actions."""
    missing = [key for key in keys if key not in acted.info]
    if missing:
        raise ArgumentError(
            f"PolicyStep.info must have {list(keys)}, as the replay holds them; {missing} are "
            f"missing. Return them from the policy, or open the replay for one without info."
        )
