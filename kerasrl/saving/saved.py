"""What saving needs of an agent."""

from typing import Any, Protocol

import tensorflow as tf


class Savable:
    """The mark of what `kerasrl.load` may make: agents, whoever has written them."""


class Saved(Protocol):
    """An agent, as far as it goes into files and comes out of them."""

    built: bool
    optimizer: Any
    distribute_strategy: tf.distribute.Strategy
    layers: list[Any]

    def optimized_variables(self) -> dict[str, list[tf.Variable]]:
        """The variables that each of `compile`'s optimizers changes, by the argument's name."""

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, networks serialized."""

    def get_build_config(self) -> dict[str, Any] | None:
        """What `build_from_config` takes; None of an agent that is not built."""

    def build_from_config(self, config: dict[str, Any]) -> None:
        """Builds the networks."""

    def get_compile_config(self) -> dict[str, Any] | None:
        """What `compile_from_config` takes; None of an agent that is not compiled."""

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Compiles it, and makes the optimizers' variables."""
