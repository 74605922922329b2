"""What a policy is worth."""

import contextlib
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from kerasrl import envs
from kerasrl.arguments import seed_of, whole
from kerasrl.envs import Environments, Episode
from kerasrl.errors import ArgumentTypeError, SpaceError
from kerasrl.export.exported import ExportedPolicy
from kerasrl.policies.episodes import MAX_EPISODE_STEPS, run_episodes
from kerasrl.policies.random_policy import RandomPolicy
from kerasrl.policies.restored_policy import RestoredPolicy


def evaluate(
    env: Any,
    policy: Any = None,
    *,
    episodes: int = 10,
    num_envs: int = 1,
    seed: int | None = None,
    on_episode: Callable[[Episode], None] = lambda episode: None,
    max_episode_steps: int | None = MAX_EPISODE_STEPS,
) -> dict[str, float]:
    """Runs episodes of any policy, such as the random one to compare an agent with.

    `kerasrl.evaluate("CartPole-v1")` is what random actions are worth, and
    `kerasrl.evaluate("CartPole-v1", agent)` what the agent's greedy ones are.

    Args:
        env: whatever `fit` takes as environment, or `Environments`.
        policy: an agent, which acts greedily; a `Policy`; a policy that was exported; a callable
            from observation leaves `[N, ...]` to actions `[N, ...]`; or None, the random policy.
        episodes: int, episodes to run, shared out evenly among the environments beforehand, so
            that short ones do not count for more.
        num_envs: int, environments to make of an id or a callable.
        seed: int, for the environments, and for the random policy.
        on_episode: callable, told of every `kerasrl.envs.Episode` that counts.
        max_episode_steps: int, steps after which an episode that has not ended is broken off, with
            a warning, and counts as it is so far; None for no limit.

    Returns:
        Dict of floats over the episodes: `episode_return`, the mean undiscounted return;
        `episode_return_std`, its population standard deviation; `episode_length`, the mean number
        of steps.

    Raises:
        ArgumentError: when `episodes` or `max_episode_steps` is not a positive int.
        NonFiniteLoss: when the policy's actions are NaN or infinite.
        ArgumentTypeError: when `env` or `policy` is none of these.
        SpaceError: when the agent cannot serve the environment's spaces, or an exported policy is
            for others.
    """
    episodes, seed = whole("episodes", episodes), seed_of(seed)
    with contextlib.ExitStack() as resources:
        if isinstance(env, Environments):
            environments = env
        else:
            environments = envs.make(env, num_envs)
            resources.callback(environments.close)
        actor = _actor(policy, environments, seed)
        finished = run_episodes(actor, environments, episodes, seed, on_episode, max_episode_steps)
    returns = [episode.episode_return for episode in finished]
    return {
        "episode_return": float(np.mean(returns)),
        "episode_return_std": float(np.std(returns)),
        "episode_length": float(np.mean([episode.length for episode in finished])),
    }


def _actor(policy: Any, environments: Environments, seed: int | None) -> Any:
    spec = environments.spec
    if policy is None:
        return RandomPolicy(spec.action_space, seed)
    if hasattr(policy, "make_policy") and not isinstance(policy, type):  # An agent.
        acting = policy.make_policy(spec, environments.num_envs)
        acting.check_weights()
        return acting
    if isinstance(policy, ExportedPolicy):
        if policy.spec != spec:
            raise SpaceError(
                f"this policy is for observations {policy.observation_space} and actions "
                f"{policy.action_space}; received an environment with {spec.observation_space} and "
                f"{spec.action_space}."
            )
        return RestoredPolicy(policy, environments.num_envs)
    if callable(policy) and not isinstance(policy, type | keras.Model):
        return policy
    raise ArgumentTypeError(
        "policy must be an agent, a Policy, a callable from observation leaves [N, ...] to actions "
        f"[N, ...], or None for the random policy; received {policy!r}."
    )
