"""Rollouts: steps in the order in which a policy took them, for learning from them just once."""

from typing import Any

import numpy as np
import tensorflow as tf

from kerasrl.envs import EnvSpec, Step
from kerasrl.experience.packing import Packer


def rollout_spec(spec: EnvSpec, policy: tf.TensorSpec, length: int, columns: int) -> dict[str, Any]:
    """A rollout as nests of `tf.TensorSpec`, every one of them `[T, N, ...]`.

    `observation` is the environment's; `action` what the policy drew, before any clipping;
    `reward` float32. `discount` is 0 where the episode terminated and 1 elsewhere; `ended` is True
    where it terminated or was truncated, or where the environment failed at the next step.
    `valid` is False where nothing was learned: where an environment took a step of its own to
    reset or failed, and after the end of a whole episode. `policy` is what `agent.policy` gave for
    `observation`, and `next_policy` what it gave for the real next observation: the last one of the
    episode at a truncation or before a failure, undefined at a termination.
    `env_steps`, int64, is how many the agent had seen in its life when the rollout was begun, and
    tells it from every other.

    Args:
        spec: `EnvSpec` of one environment.
        policy: `tf.TensorSpec` of what `agent.policy` gives, `[B, ...]`.
        length: int, T.
        columns: int, N: environments, or episodes.
    """

    def stacked(leaf: tf.TensorSpec) -> tf.TensorSpec:
        return tf.TensorSpec((length, columns, *leaf.shape), leaf.dtype)

    output = tf.TensorSpec(policy.shape[1:], policy.dtype)
    one = {
        "observation": spec.observation,
        "action": spec.action,
        "reward": tf.TensorSpec((), tf.float32),
        "discount": tf.TensorSpec((), tf.float32),
        "ended": tf.TensorSpec((), tf.bool),
        "valid": tf.TensorSpec((), tf.bool),
        "policy": output,
        "next_policy": output,
        "env_steps": tf.TensorSpec((), tf.int64),
    }
    return tf.nest.map_structure(stacked, one)


class RolloutWriter:
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
        self.column("env_steps")[:] = env_steps

    def column(self, key: str) -> np.ndarray:
        """The `[T, N, ...]` array of a column of one leaf."""
        (field,) = self._fields[key]
        return self.packed[field][0]

    def write(
        self,
        where: Any,
        observation: list[np.ndarray],
        action: np.ndarray,
        output: np.ndarray,
        step: Step,
        of: Any = slice(None),
    ) -> None:
        """Writes one step of some environments.

        Args:
            where: index into `[T, N]`: the time, or arrays of times and columns.
            observation: list of `[N, ...]` leaf arrays that was acted on.
            action: `[N, ...]` array that the policy drew.
            output: `[N, ...]` array that `agent.policy` gave.
            step: the `Step` that followed.
            of: index into `[N]`: the environments to write; all of them by default.
        """
        for field, leaf in zip(self._fields["observation"], observation, strict=True):
            self.packed[field][0][where] = leaf[of]
        self.column("action")[where] = action[of]
        self.column("reward")[where] = step.reward[of]
        self.column("discount")[where] = ~step.terminated[of]
        self.column("ended")[where] = (step.terminated | step.truncated)[of]
        self.column("valid")[where] = step.valid[of]
        self.column("policy")[where] = output[of]

    def drop(self, column: int) -> None:
        """Takes back all that was written to a column."""
        for key, fields in self._fields.items():
            if key != "env_steps":
                for field in fields:
                    self.packed[field][0][:, column] = 0

    def fill(self) -> None:
        """Repeats the first observation and action where nothing is valid.

        Zeros are not of every space, and a network may have no finite answer to them.
        """
        rest = ~self.column("valid")
        for field in (*self._fields["observation"], *self._fields["action"]):
            self.packed[field][0][rest] = self.packed[field][0][0, 0]
