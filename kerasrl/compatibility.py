"""What differs between Keras 2 on TensorFlow 2.15 and Keras 3 on later ones; each with the reason.

Nothing else in kerasrl asks for a version. Each entry has a test in `tests/test_compatibility.py`.
"""

from typing import Any

import keras
import tensorflow as tf

#: Whether this is Keras 3.
KERAS_3 = int(keras.__version__.split(".")[0]) >= 3

#: Arguments of `add_weight` for a weight that is not cast to the dtype that a layer computes in.
UNCAST: dict[str, Any] = {"autocast" if KERAS_3 else "experimental_autocast": False}

#: Arguments of `add_weight` for one that every replica changes alike.
ALIKE: dict[str, Any] = {
    "aggregation": "only_first_replica" if KERAS_3 else tf.VariableAggregation.ONLY_FIRST_REPLICA
}

#: What a weight may be: those of Keras 3 are no `tf.Variable`s, but hold one.
VARIABLES: tuple[type, ...] = (tf.Variable, keras.Variable) if KERAS_3 else (tf.Variable,)


def raw(variable: Any) -> tf.Variable:
    """The `tf.Variable` of a weight, which `tf.distribute` takes alone."""
    return variable.value if KERAS_3 and isinstance(variable, keras.Variable) else variable


def dtype_of(variable: Any) -> tf.DType:
    """The dtype of a weight, which Keras 3 tells as a str."""
    return tf.as_dtype(variable.dtype)


def steps_per_execution(agent: keras.Model) -> int:
    """How many gradient steps an execution has; see `set_steps_per_execution`."""
    return int(agent.steps_per_execution if KERAS_3 else agent.steps_per_execution.numpy())


def set_steps_per_execution(agent: keras.Model, steps: int) -> None:
    """Sets how many gradient steps an execution has: a variable in Keras 2, an int in Keras 3."""
    if KERAS_3:
        agent.steps_per_execution = steps
    else:
        agent.steps_per_execution.assign(steps)


def compiled_by_xla(jit_compile: bool | None) -> bool | None:
    """The argument for Keras: None has Keras 3 choose, and is no in kerasrl."""
    return bool(jit_compile) if KERAS_3 else jit_compile


def finalize(layer: keras.layers.Layer) -> None:
    """Has a layer with constants made of weights make them anew: not every one of Keras 3 can."""
    getattr(layer, "finalize_state", lambda: None)()


def inputs_of(model: keras.Model) -> Any:
    """The symbolic inputs of a functional model; None of another, where Keras 3 has none."""
    return getattr(model, "inputs", None)


def legacy(optimizer: Any) -> bool:
    """Whether an optimizer is of `keras.optimizers.legacy`, of which Keras 3 has but the name."""
    return not KERAS_3 and isinstance(optimizer, keras.optimizers.legacy.Optimizer)


def number(value: Any) -> float:
    """The value of a scalar weight or tensor."""
    return float(value if KERAS_3 else keras.backend.get_value(value))


#: Whether Keras's `fit` may begin within an epoch, and ends one with an execution of what is left.
FIT_RESUMES = not KERAS_3


def specs_of_inputs(model: keras.Model) -> Any:
    """What a model is called with: a sequence of nests of `tf.TensorSpec`.

    Keras 3 keeps the shapes of a model that is no graph of layers, and not the dtypes, which are
    taken to be those of the layers' own.
    """
    if not KERAS_3:
        return model.save_spec()[0]
    if inputs_of(model) is not None:
        return (tf.nest.map_structure(_spec, model.input),)
    config = model.get_build_config() or {}
    shapes = config.get("shapes_dict") or {"input_shape": config.get("input_shape")}
    return tuple(_specs(shape, model.variable_dtype) for shape in shapes.values())


def _spec(tensor: Any) -> tf.TensorSpec:
    return tf.TensorSpec(tensor.shape, tensor.dtype)


def _specs(shape: Any, dtype: str) -> Any:
    """Specs of a nest of shapes, which are sequences of int and None."""
    if isinstance(shape, dict):
        return {key: _specs(value, dtype) for key, value in shape.items()}
    if all(size is None or isinstance(size, int) for size in shape):
        return tf.TensorSpec(shape, dtype)
    return type(shape)(_specs(value, dtype) for value in shape)


def interpreter(**arguments: Any) -> Any:
    """Makes an interpreter of TensorFlow Lite, which later TensorFlow leaves to the package LiteRT.

    Args:
        **arguments: as for `tf.lite.Interpreter`.
    """
    if not KERAS_3:
        return tf.lite.Interpreter(**arguments)
    from ai_edge_litert.interpreter import Interpreter  # By those who use it alone.

    return Interpreter(**arguments)
