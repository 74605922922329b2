"""Learning in float32 with networks that may compute in another precision.

Losses, targets and all else that is made of a network's output are float32. Where a network
computes in float16 small gradients would vanish on their way back, so that the loss is scaled up
for the backward pass, and the gradients down after it, as Keras does it.

Reference:
    Micikevicius et al., "Mixed precision training", 2018, https://arxiv.org/abs/1710.03740.
"""

from typing import Any

import keras
import tensorflow as tf

from kerasrl.compatibility import LossScaleOptimizer, scale_of, scale_variables, variables_of
from kerasrl.networks import all_layers
from kerasrl.training import building


def float32(output: Any) -> tf.Tensor:
    """Casts what a network has put out to float32."""
    return tf.cast(output, tf.float32)


def gradient(tape: tf.GradientTape, target: tf.Tensor, sources: Any, optimizer: Any) -> Any:
    """The gradient of the sum of a float32 `target`, with the scaling of the optimizer, if any.

    Several numbers are scaled as a mean of them would be, which a scale is meant for.
    """
    if not isinstance(optimizer, LossScaleOptimizer):
        return tape.gradient(target, sources)
    scale, size = scale_of(optimizer), tf.cast(tf.size(target), tf.float32)
    scaled = tape.gradient(
        target, tf.nest.flatten(sources), output_gradients=scale * tf.ones_like(target) / size
    )
    gradients = [g if g is None else tf.math.scalar_mul(size / scale, g) for g in scaled]
    return tf.nest.pack_sequence_as(sources, gradients)


def scale_losses(agent: keras.Model) -> None:
    """Wraps all optimizers of an agent as Keras wraps the one of a model, where it is needed.

    That is where a network computes in float16, or will, as far as is known yet.
    """
    if not _needs_scaling(agent):
        return
    made: dict[int, Any] = {}
    with agent.distribute_strategy.scope():
        for name in dict.fromkeys(["optimizer", *building.optimizers(agent)]):
            optimizer = getattr(agent, name, None)
            if optimizer is None or isinstance(optimizer, LossScaleOptimizer):
                continue
            if id(optimizer) not in made:
                made[id(optimizer)] = LossScaleOptimizer(optimizer)
            setattr(agent, name, made[id(optimizer)])


def optimizer_variables(optimizer: Any) -> list[tf.Variable]:
    """All variables of an optimizer, with those of the scale of the loss."""
    return [*variables_of(optimizer), *scale_variables(optimizer)]


def named_scales(agent: keras.Model) -> dict[str, tf.Variable]:
    """The variables of `scale_variables` of all optimizers, by their names in files."""
    named = {}
    for name in building.optimizers(agent):
        if scale := scale_variables(getattr(agent, name, None)):
            named[f"{name}_loss_scale"], named[f"{name}_good_steps"] = scale
    return named


def _needs_scaling(agent: keras.Model) -> bool:
    if not agent.built and keras.mixed_precision.global_policy().name == "mixed_float16":
        return True  # The default networks will be.
    return any(layer.dtype_policy.name == "mixed_float16" for layer in all_layers(agent))
