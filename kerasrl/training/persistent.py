"""What of an agent goes into files: itself, its weights, its policy."""

import os
from typing import Any

import keras

from kerasrl import saving
from kerasrl.compatibility import KERAS_3, steps_per_execution
from kerasrl.errors import ArgumentError, LoadError
from kerasrl.networks import Target
from kerasrl.networks.pairing import freeze, frozen
from kerasrl.training import building, constructing, exporting, opening, precision
from kerasrl.training.batchwise import Batchwise
from kerasrl.training.executions import AUTO


class Persistent(Batchwise, saving.Savable):
    """The part of `Agent` that saves it and makes it anew."""

    resolved_arguments: tuple[str, ...] = ()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "__init__" in vars(cls):
            cls.__init__ = constructing.recording(cls.__init__)  # type: ignore[method-assign]

    def save(
        self,
        filepath: str | os.PathLike[str],
        overwrite: bool = True,
        save_format: Any = None,
        include_optimizer: bool = True,
        signatures: Any = None,
        options: Any = None,
        save_traces: bool = True,
    ) -> None:
        """Writes the whole agent, with its optimizers and counters, to a `.keras` file.

        `kerasrl.load` reads it. It takes the place of an earlier file when it is whole.

        Args:
            filepath: str or path; its directory must exist. A name that does not end in `.keras`
                gets that, and `kerasrl.load` finds the file by the name that was given, too.
            overwrite: bool, whether an earlier file may be replaced.
            save_format: "keras", or None for the same.
            include_optimizer: bool; without its optimizers an agent has to be compiled again.
            signatures: None, as SavedModels have them; see `export_policy`.
            options: of no effect, as it is about formats of TensorFlow's; Keras's callbacks pass
                it. So is `save_traces`.

        Raises:
            ArgumentError: when an argument asks for another format, or for a file that is there.
            SaveError: when the file cannot be written; an earlier one is as it was.
        """
        if save_format not in (None, "keras", "keras_v3") or signatures is not None:
            save_format = save_format if signatures is None else "SavedModel with signatures"
            raise ArgumentError(
                f'an agent is saved in the format "keras"; received {save_format!r}. See '
                "export_policy for a SavedModel of the policy."
            )
        building.check_overwrite(saving.agent_path(filepath), overwrite)
        building.check_savable(self)
        saving.save_agent(self, filepath, include_optimizer)

    def save_weights(
        self,
        filepath: str | os.PathLike[str],
        overwrite: bool = True,
        save_format: Any = None,
        options: Any = None,
    ) -> None:
        """Writes the variables, the optimizers' included, to a `.weights.h5` file.

        Args:
            filepath: str or path; its directory must exist. A name that does not end in `.h5` gets
                `.weights.h5`, and `load_weights` finds the file by the name that was given, too.
            overwrite: bool, whether an earlier file may be replaced.
            save_format: "h5", or None for the same.
            options: of no effect, as it is about a format of TensorFlow's; Keras's callbacks pass
                it.

        Raises:
            ArgumentError: when an argument asks for another format, or for a file that is there.
            SaveError: when the file cannot be written; an earlier one is as it was.
        """
        if save_format not in (None, "h5"):
            raise ArgumentError(f'weights are saved in the format "h5"; received {save_format!r}.')
        building.check_overwrite(saving.weights_path(filepath), overwrite)
        building.check_savable(self)
        saving.save_weights(self, filepath)

    def load_weights(
        self,
        filepath: str | os.PathLike[str],
        skip_mismatch: bool = False,
        by_name: bool = False,
        options: Any = None,
    ) -> None:
        """Sets the variables to those of a `.weights.h5` file, which need not be trusted.

        An optimizer that either this agent or the saved one is without, because it was not
        compiled, stays as it is.

        Args:
            filepath: str or path of a file that `save_weights` or `save` wrote, of an agent like
                this one, or the name that it was given.
            skip_mismatch: bool, whether variables that the file has not, or of another shape, stay
                as they are, with a warning that lists them.
            by_name: False, as variables are told by their places in the agent.
            options: of no effect, as for `save_weights`.

        Raises:
            AgentStateError: when this agent is not built.
            ArgumentError: when it is to be done by name.
            LoadError: when the file cannot be read or is refused.
            MismatchError: when its variables are not this agent's; none has been changed then.
        """
        if by_name:
            raise ArgumentError(
                "weights are loaded by their places in the agent, not by the names of layers; "
                "received by_name=True. Pass skip_mismatch=True to leave out what does not fit."
            )
        saving.load_weights(self, filepath, skip_mismatch)

    def __reduce__(self) -> tuple[Any, ...]:
        return saving.unpickled, (saving.pickled(self),)

    def __deepcopy__(self, memo: dict[int, Any]) -> "Persistent":
        memo[id(self)] = copied = saving.unpickled(saving.pickled(self))
        return copied

    def export_policy(
        self,
        directory: str | os.PathLike[str],
        format: str = "saved_model",
        results: dict[str, float] | None = None,
    ) -> None:
        """Writes the policy for use without the agent, and without kerasrl.

        The directory then holds a `policy.json` that describes the policy, and a program with the
        functions `act`, the greedy actions, which are the agent's own for the same observations;
        and `sample`, of an agent that has it. Both take any number of observations. Normalisation
        is inside; actions are in the environment's units. See `kerasrl.load_policy`, and
        `docs/export.md` for how to use it with TensorFlow alone.

        Args:
            directory: str or path, made if it is missing. An earlier export in it is replaced as a
                whole, when the new one is complete.
            format: "saved_model"; or "tflite", a `policy.tflite` that needs none but TensorFlow
                Lite's own operations.
            results: dict of what the policy is worth, as `evaluate(env, return_dict=True)` gives,
                to be kept in `policy.json`.

        Raises:
            AgentStateError: when the agent is not built.
            ArgumentError: when the directory holds something else than an export, or an argument
                cannot work.
            NetworkError: when a network cannot be expressed in the format.
            SaveError: when it cannot be written; what was there before is as it was.
        """
        exporting.export_policy(self, directory, format, results)

    def save_own_variables(self, store: Any) -> None:
        """Adds to the agent's own variables the scales of the losses, which Keras leaves out."""
        super().save_own_variables(store)
        for name, variable in precision.named_scales(self).items():
            store[name] = variable.numpy()

    def load_own_variables(self, store: Any) -> None:
        """Sets what `save_own_variables` has saved.

        Raises:
            LoadError: when Keras 3 loads the agent, which looks for variables by other names.
        """
        if KERAS_3 and not isinstance(store, dict):
            raise LoadError(
                "agents are loaded with kerasrl.load, and their weights with load_weights."
            )
        arrays = {name: store[name] for name in store.keys()}  # noqa: SIM118
        for name, variable in precision.named_scales(self).items():
            if name in arrays:
                variable.assign(arrays.pop(name)[()])
        super().load_own_variables(arrays)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, networks serialized as they are now.

        Raises:
            SaveError: when an argument cannot be given by its name.
        """
        return constructing.config(self, Persistent)

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> "Persistent":
        """Makes an agent from what `get_config` gave."""
        return cls(**building.deserialize(config, custom_objects))

    def get_build_config(self) -> dict[str, Any] | None:
        """The spaces, as JSON has them, and which layers of its networks are frozen, if any."""
        if not self.built:
            return None
        paths = {name: frozen(network) for name, network in self._networks().items()}
        paths = {name: found for name, found in paths.items() if found}
        return building.built_spec(self).get_config() | ({"frozen": paths} if paths else {})

    def build_from_config(self, config: dict[str, Any]) -> None:
        """Builds the networks for what `get_build_config` gave."""
        self.build(building.spec_from_config(config))
        networks = self._networks()
        for name, paths in config.get("frozen", {}).items():
            freeze(networks[name], paths)

    def network_of(self, argument: str) -> keras.layers.Layer | None:
        """The network that stands for an argument of the constructor, where there is one."""
        value = vars(self).get(argument)
        return value if isinstance(value, keras.layers.Layer) else None

    def _networks(self) -> dict[str, keras.layers.Layer]:
        """The networks that are trained, by the names of their attributes."""
        return {
            name: value
            for name, value in vars(self).items()
            if isinstance(value, keras.layers.Layer) and not isinstance(value, Target)
        }

    def get_compile_config(self) -> dict[str, Any] | None:
        """The arguments of `compile`, optimizers serialized."""
        if not opening.is_compiled(self):
            return None
        return {
            **{
                name: building.serialized_optimizer(self, name)
                for name in building.optimizers(self)
            },
            "steps_per_execution": AUTO
            if self.chooses_steps_per_execution
            else steps_per_execution(self),
            "jit_compile": self.jit_compile,
            "run_eagerly": self.run_eagerly,
        }

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Compiles with what `get_compile_config` gave, and makes the optimizers' variables."""
        self.compile(**building.deserialize(config))
        saving.make_slots(self)
