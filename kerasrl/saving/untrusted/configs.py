"""What a config may ask Keras to make, checked before Keras sees it."""

from typing import Any

import keras

from kerasrl.errors import LoadError, UnsafeFileError
from kerasrl.saving.connections import calls, is_of_keras_3, tensors
from kerasrl.saving.saved import Savable
from kerasrl.saving.untrusted import operations
from kerasrl.saving.untrusted.spaces import check_spaces
from kerasrl.saving.untrusted.stock import ACTIVATIONS, CLASSES, LAYERS

_KEYS = {
    "module",
    "class_name",
    "config",
    "registered_name",
    "build_config",
    "compile_config",
    "shared_object_id",
    "name",
    "inbound_nodes",
}
_MODULES = {module for module, _, registered in CLASSES if registered is None}
_ARRAYS = ("__numpy__", "__tensor__")
_SLICES = ("__slice__", "__ellipsis__")
_DTYPES = ("bool", "float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8")
_MOST_OBJECTS = 10_000
_MOST_CALLS = 5_000
_CALLS_OF_LOOP = 100  # What a call of a recurrent layer counts for: it takes as long to trace.
_LOOPS = {"Bidirectional", "GRU", "LSTM", "RNN", "SimpleRNN", "TimeDistributed"}
_MOST_INTEGERS = 4096  # in one list
_LARGEST_SIZE = 2**24  # of an integer in a layer
_LARGEST = {"num_atoms": 2**12, "dilation_rate": 2**12, "strides": 2**12, "pool_size": 2**12}
_LARGEST_SCALAR = 4096  # in the place of which a tensor stands
_NOT_SIZES = {"seed", "starts"}
_LAYERS_IN = {"layer", "backward_layer", "layers"}
_OBJECTS = ("_initializer", "_regularizer", "_constraint")
_MUST_BE_FALSE = {"unroll", "dynamic"}  # Loops at once; runs outside of graphs.


def check_config(config: dict[str, Any], custom_objects: dict[str, Any]) -> None:
    """Walks an agent's config as Keras would, and refuses what is not known to be harmless.

    Args:
        config: dict, what `config.json` says.
        custom_objects: dict, the classes and functions that the user has named.

    Raises:
        LoadError: when it is no agent's config.
        UnsafeFileError: when it names a class or a function that is not of kerasrl, not in the list
            of Keras's, and not named by the user; or sizes that no network has.
    """
    walk = _Walk(custom_objects)
    root = {key: value for key, value in config.items() if key != "build_config"}
    if not is_agent(walk.resolve(root)):
        raise LoadError(
            f"it holds a {config['class_name']}, and no agent. If you trust it, use "
            "keras.models.load_model."
        )
    _check_rest(walk, config, root)


def check_savable(config: dict[str, Any]) -> None:
    """Refuses what `check_config` would refuse, whatever the user named.

    Args:
        config: dict, what `config.json` of an agent's new file says.

    Raises:
        UnsafeFileError: when `load` could never read it.
    """
    root = {key: value for key, value in config.items() if key != "build_config"}
    _check_rest(_WalkOfOwn({}), config, root)


def _check_rest(walk: "_Walk", config: dict[str, Any], root: dict[str, Any]) -> None:
    walk.node(root, agent=True)
    calls = _calls(config["config"])
    if calls > _MOST_CALLS:
        raise UnsafeFileError(f"its config has networks whose layers are called {calls} times.")
    check_spaces(config.get("build_config"))


def is_agent(found: Any) -> bool:
    """Whether a class is one of kerasrl's agents, or made from one."""
    return isinstance(found, type) and issubclass(found, Savable)


class _Walk:
    def __init__(self, custom_objects: dict[str, Any]):
        self.custom = custom_objects
        self.objects = 0

    def node(self, node: dict[str, Any], agent: bool = False) -> None:
        """Checks what Keras would make an object of."""
        self.objects += 1
        if self.objects > _MOST_OBJECTS:
            raise UnsafeFileError(f"its config is of more than {_MOST_OBJECTS} objects.")
        if node["class_name"] in _ARRAYS:
            _check_array(node)
            return
        if node["class_name"] in _SLICES:
            _check_slice(node)
            return
        found = self.resolve(node)
        if is_agent(found) and not agent:
            raise UnsafeFileError("its config has an agent within an agent.")
        if node["class_name"] == "function":
            return
        layer = node["class_name"] in LAYERS if found is None else _is_ours(found)
        if agent and any(_is_array(value) for value in node["config"].values()):
            raise UnsafeFileError("its config has an array where an agent has a number.")
        self.value(node["config"], layer)
        connections = node.get("inbound_nodes")
        if node["class_name"] in operations.CLASSES and found is None:
            operations.check_operation(node)
            connections = operations.without_constants(connections)
        if any(is_of_keras_3(call) and not tensors(call) for call in calls(node)):
            raise UnsafeFileError(f"its config calls a {node['class_name']} on numbers, at once.")
        self.value(node.get("build_config"), layer)
        self.value(connections, layer)
        if agent:  # Keras compiles what is within an agent, too; see `build`.
            self.value(node.get("compile_config"), False)

    def resolve(self, node: dict[str, Any]) -> Any:
        """What Keras would take for the object's class, or None for one of Keras's own.

        Keras looks among registered names first, in which every class in the process may be that
        was ever registered, and imports the module otherwise.
        """
        if not {"module", "class_name", "config", "registered_name"} <= set(node) <= _KEYS:
            raise UnsafeFileError(f"its config has an object of an unknown form: {_keys(node)}.")
        module, name, registered = node["module"], node["class_name"], node["registered_name"]
        names = [value for value in (module, name, registered) if value is not None]
        if not isinstance(name, str) or not all(isinstance(value, str) for value in names):
            raise UnsafeFileError("its config has an object whose class is not named.")
        called = node["config"] if name == "function" else registered
        if not isinstance(called, str | None):
            raise UnsafeFileError("its config has a function that is not named.")
        found = keras.saving.get_registered_object(called, self.custom)
        if found is None and registered is None and self._names_public(module, name):
            return self.custom[name]
        if found is None and (module, name, registered) in CLASSES:
            return None
        if name == "function":
            allowed = callable(found) and self._is_named(found)
        elif _is_ours(found):
            allowed = name == found.__name__
        else:
            allowed = self._is_named(found) and name in (getattr(found, "__name__", ""), registered)
        return found if allowed else self._unknown(module, name, called)

    def _unknown(self, module: str | None, name: str, called: Any) -> Any:
        """Refuses a class or a function that nobody vouches for."""
        raise UnsafeFileError(_refusal(module, name, called))

    def value(self, value: Any, layer: bool, key: str = "") -> None:
        """Checks anything within a config; `layer` says whether it is a layer's."""
        if layer and key in _MUST_BE_FALSE and value is not False and value is not None:
            raise UnsafeFileError(f"{key}={value!r:.40} in its config could exhaust time.")
        if isinstance(value, dict):
            if "class_name" in value:
                self.node(value)
                return
            for name, child in value.items():
                self.value(child, layer, name)
        elif isinstance(value, list):
            integers = sum(isinstance(child, int) for child in value)
            if layer and integers > _MOST_INTEGERS:
                raise UnsafeFileError(f"{key} in its config is a list of {integers} integers.")
            for child in value:
                self.value(child, layer, key)
        elif isinstance(value, str):
            self._text(value, layer, key)
        elif layer and isinstance(value, int) and _is_large(key, value):
            raise UnsafeFileError(f"{key}={value} in its config could exhaust memory or time.")

    def _text(self, text: str, layer: bool, key: str) -> None:
        """Refuses strings that Keras would put a function or an object in the place of."""
        registered = keras.saving.get_registered_object(text)
        if text in self.custom or self._is_named(registered):
            return
        if text == operations.CONSTANT:
            raise UnsafeFileError(
                f"its config has a layer that is called on numbers ({text}), at once and not in a "
                "graph. Add them in a layer of your own, and save it again."
            )
        looked_up = key.endswith(_OBJECTS) or key in _LAYERS_IN
        looked_up |= key.endswith("activation") and text not in ACTIVATIONS
        if (layer and looked_up) or registered is not None:
            raise UnsafeFileError(
                f"{key}={text!r} in its config stands for a function that is not named in "
                "custom_objects."
            )

    def _names_public(self, module: str | None, name: str) -> bool:
        """Whether the user has named one of Keras's own classes, under the name it has there."""
        if name not in self.custom or module not in _MODULES:
            return False
        place = keras
        for part in module.split(".")[1:]:
            place = getattr(place, part)
        return getattr(place, name, None) is self.custom[name]

    def _is_named(self, found: Any) -> bool:
        return found is not None and any(found is value for value in self.custom.values())


class _WalkOfOwn(_Walk):
    """Goes over what the user is about to save, who can name all of it but for Lambdas later."""

    def _unknown(self, module: str | None, name: str, called: Any) -> Any:
        if "lambda" in name.lower() or _is_operation(module):
            return super()._unknown(module, name, called)
        return object

    def _is_named(self, found: Any) -> bool:
        return found is not None

    def _text(self, text: str, layer: bool, key: str) -> None:
        if text == operations.CONSTANT:
            super()._text(text, layer, key)


def _is_ours(found: Any) -> bool:
    return getattr(found, "__module__", "").startswith("kerasrl.") and isinstance(found, type)


def _calls(value: Any) -> int:
    """How often objects are used, those within a network as often as the network is."""
    if isinstance(value, list):
        return sum(_calls(child) for child in value)
    if not isinstance(value, dict):
        return 0
    inner = sum(_calls(child) for child in value.values())
    connections = value.get("inbound_nodes")
    times = len(connections) if isinstance(connections, list) else 1
    own = _CALLS_OF_LOOP if value.get("class_name") in _LOOPS else 1
    return max(times, 1) * (own + inner) if "class_name" in value else inner


def _is_large(key: str, size: int) -> bool:
    return key not in _NOT_SIZES and abs(size) > _LARGEST.get(key, _LARGEST_SIZE)


def _is_array(value: Any) -> bool:
    return isinstance(value, dict) and value.get("class_name") in _ARRAYS


def _check_array(node: dict[str, Any]) -> None:
    config = node.get("config")
    if set(node) != {"class_name", "config"} or not isinstance(config, dict):
        raise UnsafeFileError("its config has an array of an unknown form.")
    if set(config) != {"value", "dtype"} or config["dtype"] not in _DTYPES:
        raise UnsafeFileError("its config has an array that is not of numbers.")
    value = config["value"]
    if not isinstance(value, list | int | float) or (
        not isinstance(value, list) and abs(value) > _LARGEST_SCALAR
    ):
        raise UnsafeFileError(f"its config has {value!r:.40} in the place of an array.")


def _check_slice(node: dict[str, Any]) -> None:
    config = node.get("config")
    if set(node) != {"class_name", "config"} or not isinstance(config, dict):
        raise UnsafeFileError("its config has a slice of an unknown form.")
    if not all(value is None or type(value) is int for value in config.values()):
        raise UnsafeFileError("its config has a slice that is not of numbers.")


def _is_operation(module: str | None) -> bool:
    """Whether it is what Keras 3 writes for an operation between layers."""
    return str(module).startswith("keras.src.ops")


def _refusal(module: str | None, name: str, called: Any) -> str:
    if _is_operation(module):
        return (
            f"its config has the operation {name} between layers, which is not one of the plain "
            "ones that a stranger's file may have. Do it in the call of a layer of your own, "
            "registered with @keras.saving.register_keras_serializable(), and save it again."
        )
    kind = f"the function {called}" if name == "function" else f"{module or ''}.{name}".strip(".")
    refusal = (
        f"its config asks for {kind}, which is neither kerasrl's nor one of the layers, optimizers "
        "and so on of Keras that a stranger's file may name. "
    )
    if "Lambda" in name:
        return f"{refusal}Make the network of layers that are classes, and save it again."
    key = called if name == "function" else name
    return (
        f'{refusal}If you trust it, name it: kerasrl.load(path, custom_objects={{"{key}": ...}}).'
    )


def _keys(node: dict[str, Any]) -> str:
    return ", ".join(sorted(node))[:200]
