"""A rollout while it is being written, and what one is made of."""

from typing import Any

import numpy as np
import tensorflow as tf

from kerasrl.envs import EnvSpec, Step
from kerasrl.experience.experience import check_info, with_info
from kerasrl.experience.packing import Packer
from kerasrl.policies.policy import PolicySpec, PolicyStep

_COLUMNS = (
    "observation",
    "action",
    "reward",
    "discount",
    "ended",
    "valid",
    "policy",
    "next_policy",
    "env_steps",
)


def rollout_spec(spec: EnvSpec, policy: PolicySpec, length: int, columns: int) -> dict[str, Any]:
    """A rollout as nests of `tf.TensorSpec`, every one of them `[T, N, ...]`.

    `observation` is the environment's; `action` what the policy drew, before any clipping;
    `reward` float32. `discount` is 0 where the episode terminated and 1 elsewhere; `ended` is True
    where it terminated or was truncated, or where the environment failed at the next step.
    `valid` is False where nothing was learned: where an environment took a step of its own to
    reset or failed, and after the end of a whole episode. `policy` is what `agent.policy` gave for
    `observation`, and `next_policy` what it gave for the real next observation: the last one of the
    episode at a truncation or before a failure, undefined at a termination. Both are nests if that
    is one, and () of a policy without an output.
    `env_steps`, int64, is how many the agent had seen in its life when the rollout was begun, and
    tells it from every other. What the policy stored beside the action stands under its own name.

    Args:
        spec: `EnvSpec` of one environment.
        policy: `PolicySpec` of the policy that acts.
        length: int, T.
        columns: int, N: environments, or episodes.

    Raises:
        ArgumentError: when the policy stores something under the name of another column.
    """

    def stacked(leaf: tf.TensorSpec) -> tf.TensorSpec:
        return tf.TensorSpec((length, columns, *leaf.shape), leaf.dtype)

    one = {
        "observation": spec.observation,
        "action": spec.action,
        "reward": tf.TensorSpec((), tf.float32),
        "discount": tf.TensorSpec((), tf.float32),
        "ended": tf.TensorSpec((), tf.bool),
        "valid": tf.TensorSpec((), tf.bool),
        "policy": policy.output,
        "next_policy": policy.output,
        "env_steps": tf.TensorSpec((), tf.int64),
    }
    return tf.nest.map_structure(stacked, with_info(one, policy.info))


class RolloutBuffer:
    """A rollout while it is being written; all zeros, and nothing valid, to begin with.

    Args:
        packer: `Packer` of a `rollout_spec`.
        env_steps: int, those of the agent's life so far.

    Attributes:
        packed: structured array `[1]`, the rollout as a replay takes it.
    """

    def __init__(self, packer: Packer, env_steps: int):
        self.packed = packer.rows(1)
        self._fields = packer.fields
        self._leaves = {
            key: [self.packed[field][0] for field in fields] for key, fields in self._fields.items()
        }
        self._info = tuple(key for key in self._fields if key not in _COLUMNS)
        self.column("env_steps")[:] = env_steps

    def column(self, key: str) -> np.ndarray:
        """The `[T, N, ...]` array of a column of one leaf."""
        (leaf,) = self.leaves(key)
        return leaf

    def leaves(self, key: str) -> list[np.ndarray]:
        """The `[T, N, ...]` arrays of a column, in `tf.nest` order."""
        return self._leaves[key]

    def write(
        self,
        where: Any,
        observation: list[np.ndarray],
        acted: PolicyStep,
        step: Step,
        of: Any = slice(None),
    ) -> None:
        """Writes one step of some environments.

        Args:
            where: index into `[T, N]`: the time, or arrays of times and columns.
            observation: list of `[N, ...]` leaf arrays that was acted on.
            acted: the `PolicyStep` that was taken.
            step: the `Step` that followed.
            of: index into `[N]`: the environments to write; all of them by default.
        """
        self._set("observation", where, observation, of)
        self.column("action")[where] = acted.action[of]
        self.column("reward")[where] = step.reward[of]
        self.column("discount")[where] = ~step.terminated[of]
        self.column("ended")[where] = (step.terminated | step.truncated)[of]
        self.column("valid")[where] = step.valid[of]
        self._set("policy", where, tf.nest.flatten(acted.output), of)
        if self._info:
            check_info(self._info, acted)
            for key in self._info:
                self._set(key, where, [acted.info[key]], of)

    def write_next_policy(self, where: Any, output: Any, of: Any = slice(None)) -> None:
        """Writes what the policy gives for real next observations.

        Args:
            where: index into `[T, N]`.
            output: nest of `[N, ...]` arrays.
            of: index into `[N]`: the environments to write; all of them by default.
        """
        self._set("next_policy", where, tf.nest.flatten(output), of)

    def follow(self, last: Any, known: np.ndarray) -> None:
        """Takes `next_policy` from the `policy` of the next time, where it is not known otherwise.

        Args:
            last: nest of `[N, ...]` arrays, the `next_policy` of the last time.
            known: bool `[T, N]`, where `next_policy` stays as it is.
        """
        columns = zip(
            self.leaves("policy"), self.leaves("next_policy"), tf.nest.flatten(last), strict=True
        )
        for policy, following, end in columns:
            kept = following[known]
            following[:-1] = policy[1:]
            following[-1] = end
            following[known] = kept

    def drop(self, column: int) -> None:
        """Takes back all that was written to a column."""
        for key in self._fields:
            if key != "env_steps":
                for leaf in self.leaves(key):
                    leaf[:, column] = 0

    def fill(self) -> None:
        """Repeats the first observation and action where nothing is valid.

        Zeros are not of every space, and a network may have no finite answer to them.
        """
        rest = ~self.column("valid")
        for leaf in (*self.leaves("observation"), *self.leaves("action")):
            leaf[rest] = leaf[0, 0]

    def _set(self, key: str, where: Any, leaves: list[np.ndarray], of: Any) -> None:
        for column, leaf in zip(self.leaves(key), leaves, strict=True):
            column[where] = leaf[of]
