"""Rollouts: steps in the order in which a policy took them, for learning from them just once."""

from typing import Any

import numpy as np

from kerasrl.arguments import whole
from kerasrl.envs import EnvSpec, Step
from kerasrl.errors import ArgumentError
from kerasrl.experience.experience import Experience, Sink
from kerasrl.experience.packing import Packer
from kerasrl.experience.rollout_buffer import RolloutBuffer, rollout_spec
from kerasrl.policies.policy import Policy, PolicySpec, PolicyStep

_NOTHING = PolicySpec()


class Rollouts(Experience):
    """Pieces of `length` steps of all environments; episodes go on from one to the next.

    An item is `[length, N, ...]`, see `kerasrl.replay.rollout_spec`.

    Args:
        length: int, steps of each environment in a rollout.
    """

    def __init__(self, length: int = 128):
        self.length = whole("length", length)

    def spec(
        self, env_spec: EnvSpec, policy_spec: PolicySpec = _NOTHING, num_envs: int = 1
    ) -> dict[str, Any]:
        """One rollout, with what the policy gave and stored."""
        return rollout_spec(env_spec, policy_spec, self.length, num_envs)

    def writer(
        self, sink: Sink, num_envs: int = 1, policy: Policy | None = None
    ) -> "RolloutWriter":
        """Makes a `RolloutWriter`."""
        return RolloutWriter(sink, num_envs, self.length, policy)


class RolloutWriter:
    """Turns the steps of N environments into rollouts.

    Args:
        sink: the replay to write to.
        num_envs: int, N.
        length: int, T.
        policy: the policy that acts; None where the replay holds nothing of its output.

    Attributes:
        items: int, rollouts written since it was made.
        env_steps: int, see `kerasrl.experience.Writer`; a rollout tells that of its beginning.

    Raises:
        ArgumentError: when there is no policy, and the replay holds what one gives.
        ReplayError: when the replay is not open, and so does not know what it is to hold.
    """

    def __init__(self, sink: Sink, num_envs: int, length: int, policy: Policy | None = None):
        self.items = self.env_steps = 0
        self._sink, self._packer = sink, sink.packer
        self._length = length
        self._output = outputs_of(policy, self._packer)
        self._buffer = RolloutBuffer(self._packer, 0)
        self._time = 0
        # What follows a truncation is not what is acted on next.
        self._truncated = np.zeros((length, num_envs), bool)

    def append(self, observation: list[np.ndarray], acted: PolicyStep, step: Step) -> None:
        """Adds one step of every environment.

        Args:
            observation: list of `[N, ...]` leaf arrays that was acted on.
            acted: the `PolicyStep` that was taken; its `action` as it was drawn.
            step: the `Step` that followed.
        """
        t = self._time
        if t == 0:
            self._buffer = RolloutBuffer(self._packer, self.env_steps)
            self._truncated[:] = False
        self._buffer.write(t, observation, acted, step)
        truncated = step.truncated & step.valid
        if np.count_nonzero(truncated):
            self._truncated[t] = truncated
            output = self._output(step.next_observation)
            self._buffer.write_next_policy((t, truncated), output, of=truncated)
        if t and np.count_nonzero(step.cut):
            # The step before was the last; what it led to was acted on in this one.
            self._buffer.column("ended")[t - 1, step.cut] = True
        self.env_steps += np.count_nonzero(step.valid)
        self._time += 1
        if self._time == self._length:
            self._write(step)

    def get_state(self) -> dict[str, Any]:
        """The rollout that is begun and not yet written."""
        packed = self._buffer.packed.copy() if self._time else None
        return {"packed": packed, "truncated": self._truncated.copy(), "time": self._time}

    def set_state(self, state: dict[str, Any]) -> None:
        """Goes on where `get_state` was called."""
        if state["packed"] is not None:
            self._buffer.packed[:] = state["packed"]
        self._truncated[:] = state["truncated"]
        self._time = state["time"]

    def _write(self, step: Step) -> None:
        self._buffer.follow(self._output(step.observation), self._truncated)
        self._time = 0
        self.items += 1
        self._sink.insert(self._buffer.packed)


def outputs_of(policy: Policy | None, packer: Packer) -> Any:
    """What gives the outputs for observations that are not acted on; nothing if none are stored.

    Raises:
        ArgumentError: when they are stored, and there is no policy.
    """
    if not packer.fields["policy"]:
        return lambda observation: ()
    if policy is None:
        raise ArgumentError(
            "the writer of rollouts needs the policy that acts, as the replay holds what it gives "
            "for observations that are not acted on; received policy=None. Pass "
            "writer(replay, num_envs, policy)."
        )
    return policy.output
