"""The spaces that an agent is built for, and configs."""

import contextlib
import inspect
import os
from typing import Any

import keras
import tensorflow as tf

from kerasrl import envs, saving
from kerasrl.envs import EnvSpec
from kerasrl.errors import AgentStateError, ArgumentError, SpaceError
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


def optimizers(agent: keras.Model) -> list[str]:
    """The names of the optimizers that the agent's `compile` takes, built or not."""
    return [name for name in inspect.signature(agent.compile).parameters if "optimizer" in name]


def make_slots_early(agent: keras.Model) -> None:
    """Makes the variables of the optimizers before the first step, which is then traced only once.

    It leaves that to the first step where it has to: for layers that are built when they are first
    called, and for Keras's legacy optimizers.
    """
    layers = all_layers(agent)
    used = [getattr(agent, name) for name in agent.optimized_variables()]
    legacy = any(isinstance(each, keras.optimizers.legacy.Optimizer) for each in used)
    if all(layer.built for layer in layers) and not legacy:
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
