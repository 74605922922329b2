"""Sequences: overlapping pieces of episodes, for agents with a memory."""

from typing import Any

import numpy as np
import tensorflow as tf

from kerasrl.arguments import whole
from kerasrl.envs import EnvSpec, Step
from kerasrl.errors import ArgumentError
from kerasrl.experience.experience import Experience, Sink, check_info, with_info
from kerasrl.policies.policy import Policy, PolicySpec, PolicyStep

_COLUMNS = ("observation", "action", "reward", "discount", "weight", "state")
_NOTHING = PolicySpec()


class Sequences(Experience):
    """Pieces of the episodes of one environment, `length` rows each, overlapping.

    An item has one row a step, `[T, ...]`: `observation`, `action` as it was drawn, `reward`,
    `discount` (0 where the episode terminated, 1 elsewhere), `weight` (1 where a step was taken, 0
    beyond the end of the episode) and, under its name, what the policy stored beside the action.
    `state` is the recurrent state that its first step was acted from, a nest without a time axis;
    it is not there when the policy has none.

    One sequence begins every `period` steps of an episode, and none reaches into another episode.
    Where the episode ends within one, the row after the last step holds the real last observation,
    so that an agent that learns from rows t and t + 1 bootstraps from it after a truncation, as
    after any other step; it repeats to the end, and so does the last action, with `reward` and
    `discount` 0. A last step that fills its sequence is written again in the next, with the row
    that follows it.
    What was not yet written of an episode that is cut off from outside is dropped.

    Args:
        length: int, T >= 2, rows of a sequence.
        period: int, steps from the beginning of one to that of the next, less than `length`; half
            of it by default.

    Raises:
        ArgumentError: when they are out of their range.

    Reference:
        Kapturowski et al., "Recurrent experience replay in distributed reinforcement learning",
        2019.
    """

    def __init__(self, length: int = 80, period: int | None = None):
        self.length = whole("length", length, least=2)
        self.period = self.length // 2 if period is None else whole("period", period)
        self.env_steps_per_item = self.period
        if self.period >= self.length:
            raise ArgumentError(
                f"period must be less than length={self.length}, as what follows the last step of "
                f"a sequence is learned from in the next one; received {period}."
            )

    def spec(
        self, env_spec: EnvSpec, policy_spec: PolicySpec = _NOTHING, num_envs: int = 1
    ) -> dict[str, Any]:
        """One sequence, with what the policy stored and the state it acted from."""
        number = tf.TensorSpec((), tf.float32)
        one = {
            "observation": env_spec.observation,
            "action": env_spec.action,
            "reward": number,
            "discount": number,
            "weight": number,
            "state": (),
        }
        stacked = tf.nest.map_structure(
            lambda leaf: tf.TensorSpec((self.length, *leaf.shape), leaf.dtype),
            with_info(one, policy_spec.info),
        )
        del stacked["state"]
        state = policy_spec.state
        if isinstance(state, list):
            state = tuple(state)  # A pipeline makes one tensor of a list.
        return {**stacked, "state": state} if tf.nest.flatten(state) else stacked

    def writer(
        self, sink: Sink, num_envs: int = 1, policy: Policy | None = None
    ) -> "SequenceWriter":
        """Makes a `SequenceWriter`."""
        return SequenceWriter(sink, num_envs, self.length, self.period)


class SequenceWriter:
    """Turns the steps of N environments into overlapping sequences.

    Args:
        sink: the replay to write to.
        num_envs: int, N.
        length: int, rows of a sequence.
        period: int, steps from the beginning of one to that of the next, less than `length`.

    Attributes:
        items: int, sequences written since it was made.
        env_steps: int, see `kerasrl.experience.Writer`; sequences do not tell it.

    Raises:
        ReplayError: when the replay is not open, and so does not know what it is to hold.
    """

    def __init__(self, sink: Sink, num_envs: int, length: int, period: int):
        self.items = self.env_steps = 0
        self._sink, self._length, self._period = sink, length, period
        self._fields = sink.packer.fields
        self._info = tuple(key for key in self._fields if key not in _COLUMNS)
        self._stepwise = [f for key in self._fields if key != "state" for f in self._fields[key]]
        self._rows = sink.packer.rows(num_envs)  # The sequences that are begun.
        # The state that each of their steps was acted from, [N, T, ...], as any may be a first one.
        self._states = [
            np.zeros((num_envs, length, *dtype.shape), dtype.base)
            for dtype in (sink.packer.dtype[field] for field in self._fields.get("state", ()))
        ]
        self._times = np.zeros(num_envs, np.int64)  # Steps in the sequence that is begun.

    def append(self, observation: list[np.ndarray], acted: PolicyStep, step: Step) -> None:
        """Adds one step of every environment.

        Args:
            observation: list of `[N, ...]` leaf arrays that was acted on.
            acted: the `PolicyStep` that was taken; its `state` is what was acted from.
            step: the `Step` that followed.
        """
        (of,) = np.nonzero(step.valid)
        where = (of, self._times[of])
        self._set("observation", where, observation, of)
        self._set("action", where, [acted.action], of)
        self._set("reward", where, [step.reward], of)
        self._set("discount", where, [~step.terminated], of)
        self._set("weight", where, [step.valid], of)
        if self._info:
            check_info(self._info, acted)
            for key in self._info:
                self._set(key, where, [acted.info[key]], of)
        if self._states:
            for states, leaf in zip(self._states, self._leaves(acted), strict=True):
                states[where] = leaf[of]
        self._times[of] += 1
        for env in np.nonzero(self._times == self._length)[0]:
            self._write(env)
        for env in np.nonzero(step.valid & (step.terminated | step.truncated))[0]:
            self._end(env, [leaf[env] for leaf in step.next_observation])
        self._times[step.cut] = 0

    def get_state(self) -> dict[str, Any]:
        """The sequences that are begun and not yet written."""
        return {
            "rows": self._rows.copy(),
            "states": [states.copy() for states in self._states],
            "times": self._times.copy(),
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Goes on where `get_state` was called."""
        self._rows[:] = state["rows"]
        for states, kept in zip(self._states, state["states"], strict=True):
            states[:] = kept
        self._times[:] = state["times"]

    def _write(self, env: int) -> None:
        """Writes the sequence of an environment, and keeps what the next one shares with it."""
        row, period = self._rows[env : env + 1], self._period
        for field, states in zip(self._fields.get("state", ()), self._states, strict=True):
            row[field][0] = states[env, 0]
            states[env, :-period] = states[env, period:].copy()
        self._sink.insert(row.copy())
        self.items += 1
        for field in self._stepwise:
            row[field][0, :-period] = row[field][0, period:].copy()
        self._times[env] -= period

    def _end(self, env: int, last: list[np.ndarray]) -> None:
        """Writes the end of an episode; at the least its last step, and what follows it."""
        time = self._times[env]
        self._set("observation", (env, slice(time, None)), last, ...)
        for key in ("action", *self._info):
            for field in self._fields[key]:
                self._rows[field][env, time:] = self._rows[field][env, time - 1]
        for key in ("reward", "discount", "weight"):
            self._set(key, (env, slice(time, None)), [np.float32(0)], ...)
        self._write(env)
        self._times[env] = 0

    def _leaves(self, acted: PolicyStep) -> list[np.ndarray]:
        """The state that was acted from."""
        leaves = tf.nest.flatten(acted.state)
        if len(leaves) != len(self._states):
            raise ArgumentError(
                f"PolicyStep.state must have the {len(self._states)} arrays of the recurrent state "
                f"that was acted from, as the replay holds it; received {len(leaves)}. Return it "
                "from the policy, or open the replay for one without a state."
            )
        return leaves

    def _set(self, key: str, where: Any, leaves: list[Any], of: Any) -> None:
        for field, leaf in zip(self._fields[key], leaves, strict=True):
            self._rows[field][where] = leaf[of]
