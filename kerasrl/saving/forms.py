"""The forms in which Keras 2 and Keras 3 write what they make: one is turned into the other.

Whichever wrote a file, what is checked and compared is Keras 2's form of it: `canonical`. What
Keras is then to make is of the form that the one here reads: `native`. Settings that only one of
them has are left out where they say what the other does anyway, and else kept.

Nothing is made of what a config says here, so that it need not be trusted.
"""

from collections.abc import Callable
from typing import Any

from kerasrl.compatibility import KERAS_3
from kerasrl.errors import MismatchError
from kerasrl.saving import connections

_FUNCTIONAL = {2: "keras.src.engine.functional", 3: "keras.src.models.functional"}
_SCALING = "keras.src.mixed_precision.loss_scale_optimizer"
_SHAPES = {"query_shape": "query_shape", "key_shape": "value_shape", "value_shape": "value_shape"}

# What one of them writes and the other does not know, where it says what is so anyway.
_SAID_BY_ONE: dict[str, Any] = {
    "activity_regularizer": None,
    "backward_layer": None,
    "compile_config": {},
    "flash_attention": None,
    "gradient_accumulation_steps": None,
    "implementation": 2,
    "input_axes": None,
    "loss_scale_factor": None,
    "optional": False,
    "output_axes": None,
    "quantization_config": None,
    "ragged": False,
    "renorm": False,
    "renorm_clipping": None,
    "renorm_momentum": 0.99,
    "rms_scaling": False,
    "sliding_window": None,
    "sparse": False,
    "synchronized": False,
    "time_major": False,
    "use_gate": False,
    "zero_output_for_mask": False,
}


def canonical(config: Any) -> Any:
    """A config in the form that Keras 2 writes.

    Args:
        config: nest, of a file or of an object, in either form.
    """
    return _walked(config, _as_keras_2)


def native(config: Any) -> Any:
    """A config in the form that the Keras here reads.

    Args:
        config: nest, of the form that `canonical` gives.

    Raises:
        MismatchError: when it has what the Keras that wrote it can read, and not the one here.
    """
    return _walked(config, _as_keras_3 if KERAS_3 else _readable_by_keras_2)


def _walked(value: Any, change: Callable[[dict[str, Any]], Any]) -> Any:
    """Changes every object in a nest, those within others first."""
    if isinstance(value, list):
        return [_walked(child, change) for child in value]
    if not isinstance(value, dict):
        return value
    walked = {key: _walked(child, change) for key, child in value.items()}
    named = isinstance(walked.get("class_name"), str) and isinstance(walked.get("config"), dict)
    return change(walked) if named else walked


def _as_keras_2(node: dict[str, Any]) -> Any:
    name, config = node["class_name"], node["config"]
    if name == connections.TENSOR:
        return config.get("keras_history")
    if name == "DTypePolicy":
        policy = config.get("name")
        mixed = isinstance(policy, str) and policy.startswith("mixed_")
        return _with(node, module="keras.mixed_precision", class_name="Policy") if mixed else policy
    if connections.is_network(config):
        config = connections.as_by_keras_2(config)
    if not str(node.get("module")).startswith("keras"):
        return _with(node, config=config)
    node, config = _plain(node), _with_activations(_plain(config), "silu", "swish")
    if name == "Functional":
        return _with(node, module=_FUNCTIONAL[2], config=config)
    if node.get("module") == "keras.optimizers.schedules":  # None in one, its class in the other.
        return _with(node, config=_without(config, "name"))
    if "learning_rate" in config:
        if config.get("use_ema") is False:  # None in one, 100 in the other.
            config = _without(config, "ema_overwrite_frequency")
        return _with(node, config={"is_legacy_optimizer": False, "jit_compile": False} | config)
    if name == "LossScaleOptimizer":
        named = {"class_name": "LossScaleOptimizerV3", "registered_name": "LossScaleOptimizerV3"}
        config = {"dynamic": True, **_without(config, "name")}
        return _with(node, module=_SCALING, **named, config=config)
    if name == "InputLayer" and "batch_shape" in config:
        config = {"batch_input_shape": config["batch_shape"], **_without(config, "batch_shape")}
    elif name == "Sequential":
        config = _without(config, "dtype", "trainable")
    elif name == "BatchNormalization" and isinstance(config.get("axis"), list):
        config = {**config, "axis": next(iter(config["axis"]), -1)}
    elif name in ("GRU", "LSTM", "SimpleRNN") and config.get("seed") is None:
        config = _without(config, "seed")
    elif name == "MultiHeadAttention":
        node, config = _attention_by_keras_2(node, config)
    return _with(node, config=config)


def _as_keras_3(node: dict[str, Any]) -> dict[str, Any]:
    name, config = node["class_name"], node["config"]
    if name in ("TFOpLambda", "SlicingOpLambda"):
        raise _cannot_be_read(f"tf.{config.get('function')}", 2, 3)
    if str(node.get("module")).startswith("keras"):
        config = _with_activations(config, "swish", "silu")
    if connections.is_network(config):
        config = connections.as_by_keras_3(config)
    if name == "Policy":
        return _with(node, module="keras", class_name="DTypePolicy")
    if name == "Functional":
        return _with(node, module=_FUNCTIONAL[3], config=config)
    if name == "LossScaleOptimizerV3" and config.get("dynamic") is not True:
        raise MismatchError("it has a loss scale that is fixed, which Keras 3 does not have.")
    if name == "LossScaleOptimizerV3":
        named = {"class_name": "LossScaleOptimizer", "registered_name": None}
        return _with(node, module="keras.optimizers", **named, config=_without(config, "dynamic"))
    if name == "InputLayer" and "batch_input_shape" in config:
        shape = config["batch_input_shape"]
        return _with(node, config={"batch_shape": shape, **_without(config, "batch_input_shape")})
    if name == "MultiHeadAttention":
        return _with(node, config=_without(config, *_SHAPES))
    if "learning_rate" in config:
        config = _without(config, "is_legacy_optimizer", "jit_compile")
        return _with(node, module="keras.optimizers", config=config)
    return _with(node, config=config)


def _readable_by_keras_2(node: dict[str, Any]) -> dict[str, Any]:
    if str(node.get("module")).startswith("keras.src.ops."):
        raise _cannot_be_read(node["class_name"], 3, 2)
    if any(map(connections.is_of_keras_3, connections.calls(node))):
        raise MismatchError(
            f"its networks call a {node['class_name']} with arguments in a form that Keras 3 wrote "
            "and Keras 2 cannot read. Make the call in a layer of your own, and save it again."
        )
    return node


def _with_activations(config: dict[str, Any], name: str, other: str) -> dict[str, Any]:
    """The config with another name for an activation that has two."""
    return {k: other if k.endswith("activation") and v == name else v for k, v in config.items()}


def _attention_by_keras_2(
    node: dict[str, Any], config: dict[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Keras 2 has the shapes that it is called on in its config, and Keras 3 those to build it."""
    shapes = (node.get("build_config") or {}).get("shapes_dict") or {}
    config = {key: shapes.get(shape) for key, shape in _SHAPES.items()} | config
    if config.get("seed") is None:
        config = _without(config, "seed")
    return _without(node, "build_config"), config


def _cannot_be_read(operation: str, writer: int, reader: int) -> MismatchError:
    return MismatchError(
        f"its networks have the operation {operation} between layers, which Keras {writer} wrote "
        f"and Keras {reader} cannot read. Do it in the call of a layer, and save it again."
    )


def _plain(config: dict[str, Any]) -> dict[str, Any]:
    said = lambda key, value: key in _SAID_BY_ONE and value == _SAID_BY_ONE[key]  # noqa: E731
    return {key: value for key, value in config.items() if not said(key, value)}


def _with(node: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {**node, **changes}


def _without(config: dict[str, Any], *keys: str) -> dict[str, Any]:
    return {key: value for key, value in config.items() if key not in keys}
