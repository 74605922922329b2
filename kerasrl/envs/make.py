"""Anything that a user may call an environment, turned into `Environments`."""

import contextlib
from typing import Any

import gymnasium as gym

from kerasrl.envs.env_list import EnvList
from kerasrl.envs.environments import Environments
from kerasrl.envs.vector_env import VectorEnvAdapter
from kerasrl.errors import ArgumentError, ArgumentTypeError


def make(env: Any, num_envs: int = 1) -> Environments:
    """Makes a vector of environments out of whatever the user has.

    Args:
        env: a Gymnasium id, a `gymnasium.Env`, a `gymnasium.vector.VectorEnv`, or a callable (a
            class, too) that makes either. What is made here is closed by `close()`; what was given
            stays open.
        num_envs: int, how many to make of an id or a callable.

    Returns:
        `Environments`.

    Raises:
        ArgumentTypeError: when `env` is none of these.
        ArgumentError: when `num_envs` does not go with `env`.
    """
    if not isinstance(num_envs, int) or num_envs < 1:
        raise ArgumentError(f"num_envs must be a positive int; received {num_envs!r}.")
    if isinstance(env, str):
        return _make_list(lambda: gym.make(env, disable_env_checker=True), num_envs)
    if isinstance(env, gym.Env):
        _check_alone(env, num_envs, 1)
        return EnvList([env], owned=False)
    if isinstance(env, gym.vector.VectorEnv):
        _check_alone(env, num_envs, env.num_envs)
        return VectorEnvAdapter(env, owned=False)
    if callable(env):
        return _make_list(env, num_envs)
    raise ArgumentTypeError(
        "expected a Gymnasium id, a gymnasium.Env, a gymnasium.vector.VectorEnv or a callable that "
        f"makes one; received {env!r} of type {type(env).__name__}."
    )


def _make_list(make_one: Any, num_envs: int) -> Environments:
    with contextlib.ExitStack() as made:
        envs = [_make_one(make_one, made)]
        environments: Environments
        if isinstance(envs[0], gym.vector.VectorEnv):
            _check_alone(envs[0], num_envs, envs[0].num_envs)
            environments = VectorEnvAdapter(envs[0], owned=True)
        else:
            envs += [_make_one(make_one, made) for _ in range(num_envs - 1)]
            for env in envs:
                _check_made(env)
            environments = EnvList(envs, owned=True)
        made.pop_all()
        return environments


def _make_one(make_one: Any, made: contextlib.ExitStack) -> Any:
    env = make_one()
    if hasattr(env, "close"):
        made.callback(env.close)
    return env


def _check_made(env: Any) -> None:
    if not isinstance(env, gym.Env):
        raise ArgumentTypeError(
            "a callable given as environment must return a gymnasium.Env or a "
            f"gymnasium.vector.VectorEnv; it returned {env!r} of type {type(env).__name__}."
        )


def _check_alone(env: Any, num_envs: int, held: int) -> None:
    if num_envs not in (1, held):
        raise ArgumentError(
            f"num_envs={num_envs} needs an id or a callable to make environments from; received "
            f"{env}, which holds {held}. Pass its id, or a callable such as lambda: MyEnv()."
        )
