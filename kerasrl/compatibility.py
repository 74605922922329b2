"""What differs between Keras 2 on TensorFlow 2.15 and Keras 3 on later ones; each with the reason.

Nothing else in kerasrl asks for a version. Each entry has a test in `tests/test_compatibility.py`.
"""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from kerasrl.private import loss_scale

LossScaleOptimizer = keras.mixed_precision.LossScaleOptimizer

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

#: What keeps variables. The losses of Keras do not, but are among what leads to others.
STATEFUL: tuple[type, ...] = (
    keras.layers.Layer,
    keras.optimizers.Optimizer,
    keras.metrics.Metric,
    keras.losses.Loss,
    *([keras.random.SeedGenerator] if KERAS_3 else []),
)

#: What keeps the state of random numbers, for dropout and the like: a class of its own in Keras 3.
RANDOM_STATES: tuple[type[Any], ...] = (keras.random.SeedGenerator,) if KERAS_3 else ()

#: Arguments of `keras.Model.save` that ask for a `.keras` file: there is nothing else in Keras 3,
#: and "keras" is h5 in some threads of Keras 2.
KERAS_FILE: dict[str, Any] = {} if KERAS_3 else {"save_format": "keras_v3"}


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


def declare_input(model: keras.Model, inputs: Any) -> None:
    """Has a `Sequential` that is not built take inputs of the dtype that it will be called with.

    Keras 3 takes the one that its first layer computes in, and casts to it what comes.

    Args:
        model: any model; nothing is done to others.
        inputs: nest of tensors `[B, ...]`.
    """
    if not KERAS_3 or not isinstance(model, keras.Sequential) or model.built:
        return
    if tf.is_tensor(inputs) and model.layers:
        layers = model.layers
        for _ in layers:
            model.pop(rebuild=False)
        for layer in (keras.Input(inputs.shape[1:], dtype=inputs.dtype.name), *layers):
            model.add(layer)


def name_of(variable: Any) -> str:
    """The name of a weight with those of the layers around it, which Keras 3 calls its path."""
    return variable.path if KERAS_3 else variable.name.split(":")[0]


def legacy(optimizer: Any) -> bool:
    """Whether an optimizer is of `keras.optimizers.legacy`, of which Keras 3 has but the name."""
    return not KERAS_3 and isinstance(optimizer, keras.optimizers.legacy.Optimizer)


def variables_of(optimizer: Any) -> list[Any]:
    """The variables of an optimizer, without its learning rate, which is among them in Keras 3.

    Nor are those of a loss scale in Keras 2; see `scale_variables`.
    """
    if not KERAS_3:
        return list(optimizer.variables)
    if isinstance(optimizer, LossScaleOptimizer):
        return variables_of(optimizer.inner_optimizer)
    return [variable for variable in optimizer.variables if variable is not optimizer.learning_rate]


def make_variables(optimizer: Any, weights: Sequence[Any]) -> None:
    """Makes the variables of an optimizer of some weights, unless it has them.

    Keras 2 sees to that; a loss scale of Keras 3 that is built again begins anew.
    """
    if not (KERAS_3 and optimizer.built):
        optimizer.build(weights)


def scale_variables(optimizer: Any) -> list[Any]:
    """The scale of the loss and the number of steps since it changed; none if it is fixed."""
    if not isinstance(optimizer, LossScaleOptimizer):
        return []
    if KERAS_3:
        return [optimizer.dynamic_scale, optimizer.step_counter] if optimizer.built else []
    return [loss_scale(optimizer), optimizer.dynamic_counter] if optimizer.dynamic else []


def scale_of(optimizer: Any) -> tf.Tensor:
    """The present scale of the loss of a `LossScaleOptimizer`."""
    if not KERAS_3:
        return optimizer.loss_scale
    return optimizer.scale_loss(tf.ones(()))


def to_apply(optimizer: Any, gradients: Sequence[tf.Tensor | None]) -> list[tf.Tensor | None]:
    """The gradients that `apply_gradients` takes: that of a loss scale, in Keras 3, unscales them.

    Args:
        optimizer: any optimizer.
        gradients: those of the loss as it is.
    """
    if not KERAS_3 or not isinstance(optimizer, LossScaleOptimizer):
        return list(gradients)
    scale = scale_of(optimizer)
    return [g if g is None else tf.math.scalar_mul(scale, g) for g in gradients]


def number(value: Any) -> float:
    """The value of a scalar weight or tensor."""
    return float(tf.convert_to_tensor(raw(value)) if KERAS_3 else keras.backend.get_value(value))


#: What Keras's schedulers of learning rates call the rate in an epoch's logs.
RATE = "learning_rate" if KERAS_3 else "lr"

#: Whether Keras's `fit` may begin within an epoch, and ends one with an execution of what is left.
FIT_RESUMES = not KERAS_3


def specs_of_inputs(model: keras.Model) -> Any:
    """What a model is called with: a sequence of nests of `tf.TensorSpec`.

    Keras 3 keeps the shapes of a model that is no graph of layers, and not the dtypes, which are
    taken to be those of the layers' own.
    """
    if not KERAS_3:
        return model.save_spec()[0]
    inputs = inputs_of(model)
    if inputs is not None:  # A Sequential has `inputs`, and no `input` before it is called.
        return (tf.nest.map_structure(_spec, inputs[0] if len(inputs) == 1 else model.input),)
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
