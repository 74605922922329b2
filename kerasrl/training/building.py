"""The spaces that an agent is built for, and configs."""

import contextlib
import inspect
import os
from typing import Any

import keras
import tensorflow as tf

from kerasrl import envs, saving
from kerasrl.envs import EnvSpec
from kerasrl.errors import AgentStateError, ArgumentError, SaveError, SpaceError
from kerasrl.networks import all_layers


def spec_of(agent: keras.Model, env: Any) -> EnvSpec:
    """The spec of whatever `Agent.build` was given."""
    if isinstance(env, tf.TensorShape | list | tuple | dict):
        raise AgentStateError(
            f"{type(agent).__name__} is not built: its networks depend on the environment's "
            "spaces. Call fit(env), or build(env) first."
        )
    if isinstance(env, EnvSpec):
        return env
    with contextlib.closing(envs.make(env)) as environments:
        return environments.spec


def check_same_spaces(agent: keras.Model, spec: EnvSpec) -> None:
    """Raises `SpaceError` unless `spec` is what the agent was built for."""
    built = built_spec(agent)
    if spec != built:
        raise SpaceError(
            f"this agent was built for observations {built.observation_space} and actions "
            f"{built.action_space}; received an environment with {spec.observation_space} and "
            f"{spec.action_space}. Make another agent for it."
        )


def built_spec(agent: keras.Model) -> EnvSpec:
    """The spec that the agent was built for."""
    return EnvSpec(agent.observation_space, agent.action_space)


def spec_from_config(config: dict[str, Any]) -> EnvSpec:
    """The spec that `EnvSpec.get_config` described."""
    return EnvSpec.from_config(config)


def check_eager() -> None:
    """Raises `AgentStateError` unless TensorFlow executes eagerly, as it does by default."""
    if not tf.compat.v1.executing_eagerly_outside_functions():
        raise AgentStateError(
            "kerasrl needs TensorFlow's eager execution, which is switched off here. Leave out "
            "tf.compat.v1.disable_eager_execution() and tf.compat.v1.disable_v2_behavior(), and "
            "make agents outside of a tf.Graph."
        )


def optimizers(agent: keras.Model) -> list[str]:
    """The names of the optimizers that the agent's `compile` takes, built or not."""
    return [name for name in inspect.signature(agent.compile).parameters if "optimizer" in name]


def check_optimizers(agent: keras.Model) -> None:
    """Raises `AgentStateError` unless each of `compile`'s optimizers is there and has variables.

    An agent that lacks one would train, and could be saved, but not loaded.
    """
    name, taken, known = type(agent).__name__, optimizers(agent), agent.optimized_variables()
    for argument in taken:
        if getattr(agent, argument, None) is None:
            raise AgentStateError(
                f"{name}.compile takes {argument} and does not keep it, so that it could not be "
                f"saved. Have compile set self.{argument}."
            )
    if set(taken) != set(known):
        raise AgentStateError(
            f"{name}.optimized_variables() must say what each of compile's optimizers changes, "
            f"{taken}; it says so of {list(known)}. Return a dict from the arguments' names to "
            'lists of variables, such as {"actor_optimizer": self.actor.trainable_variables}.'
        )


def check_savable(agent: keras.Model) -> None:
    """Raises an error unless the optimizers are such that the agent could be loaded."""
    if agent.built and saving.is_compiled(agent):
        check_optimizers(agent)


def serialized_optimizer(agent: keras.Model, name: str) -> Any:
    """The config of one of the agent's optimizers.

    Raises:
        SaveError: when it, or its learning rate, cannot say what it was made with.
    """
    optimizer = getattr(agent, name)
    try:
        return keras.saving.serialize_keras_object(optimizer)
    except NotImplementedError as error:
        inner = getattr(optimizer, "inner_optimizer", optimizer)
        kind = keras.optimizers.schedules.LearningRateSchedule
        schedules = [part for part in vars(inner).values() if isinstance(part, kind)]
        lacking = type(schedules[0] if schedules else inner).__name__
        raise SaveError(
            f"{type(agent).__name__} cannot be saved: {lacking}, of its {name}, has no "
            f"get_config. Define get_config() in {lacking}, which returns a dict of the arguments "
            "that it is made with."
        ) from error


def make_slots_early(agent: keras.Model) -> None:
    """Makes the variables of the optimizers before the first step, which is then traced only once.

    It leaves that to the first step where it has to: for layers that are built when they are first
    called.
    """
    layers = all_layers(agent)
    if all(layer.built for layer in layers):
        saving.make_slots(agent)


def check_overwrite(path: str | os.PathLike[str], overwrite: bool) -> None:
    """Raises `ArgumentError` when a file is there that may not be replaced."""
    if not overwrite and os.path.exists(path):
        raise ArgumentError(
            f"{os.fspath(path)} is there already, and overwrite is False. Choose another name."
        )


def deserialize(config: dict[str, Any], custom_objects: Any = None) -> dict[str, Any]:
    """Makes the objects in a config whose values Keras has serialized."""
    return {
        key: keras.saving.deserialize_keras_object(value, custom_objects)
        if isinstance(value, dict)
        else value
        for key, value in config.items()
    }
