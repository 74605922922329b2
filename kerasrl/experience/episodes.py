"""Whole episodes side by side, for learning from them just once."""

from typing import Any

import numpy as np

from kerasrl.arguments import whole
from kerasrl.envs import EnvSpec, Step
from kerasrl.errors import EnvError
from kerasrl.experience.experience import Experience, Sink
from kerasrl.experience.rollout_buffer import RolloutBuffer, rollout_spec
from kerasrl.experience.rollouts import outputs_of
from kerasrl.policies.policy import Policy, PolicySpec, PolicyStep

_NOTHING = PolicySpec()


class Episodes(Experience):
    """Whole episodes; an item is `[max_steps, episodes, ...]`, see `kerasrl.replay.rollout_spec`.

    Every environment has its share of them beforehand, so that short ones are not preferred; what
    it does after its share is not learned from. The rest of each column is not `valid`.
    `next_policy` is there at truncations only.

    Args:
        episodes: int, episodes in an item.
        max_steps: int, the longest episode there may be.
    """

    def __init__(self, episodes: int = 2, max_steps: int = 1_000):
        self.episodes = whole("episodes", episodes)
        self.max_steps = whole("max_steps", max_steps)

    def spec(
        self, env_spec: EnvSpec, policy_spec: PolicySpec = _NOTHING, num_envs: int = 1
    ) -> dict[str, Any]:
        """One item, with what the policy gave and stored."""
        return rollout_spec(env_spec, policy_spec, self.max_steps, self.episodes)

    def writer(
        self, sink: Sink, num_envs: int = 1, policy: Policy | None = None
    ) -> "EpisodeWriter":
        """Makes an `EpisodeWriter`."""
        return EpisodeWriter(sink, num_envs, self.episodes, self.max_steps, policy)


class EpisodeWriter:
    """Gathers whole episodes of N environments.

    An environment that is within an episode when an item is written is waited for: its next episode
    is the first one to be learned from. Whoever would waste nothing resets the environments where
    not all are `at_start`, and makes a new writer.

    Args:
        sink: the replay to write to.
        num_envs: int, N.
        episodes: int, episodes in an item.
        max_steps: int, the longest episode there may be.
        policy: the policy that acts; None where the replay holds nothing of its output.

    Attributes:
        items: int, items written since it was made.
        env_steps: int, see `kerasrl.experience.Writer`; an item tells that of its beginning.

    Raises:
        ArgumentError: when there is no policy, and the replay holds what one gives.
        ReplayError: when the replay is not open, and so does not know what it is to hold.
    """

    def __init__(
        self,
        sink: Sink,
        num_envs: int,
        episodes: int,
        max_steps: int,
        policy: Policy | None = None,
    ):
        self.items = self.env_steps = 0
        self._sink, self._packer = sink, sink.packer
        self._max_steps = max_steps
        self._shares = [list(range(env, episodes, num_envs)) for env in range(num_envs)]
        self._output = outputs_of(policy, self._packer)
        self._buffer: RolloutBuffer | None = None  # Of the item that is begun.
        self._left = [list(share) for share in self._shares]  # Columns to be written.
        self._times = np.zeros(num_envs, np.int64)
        self._at_start = np.ones(num_envs, bool)
        self._waiting = np.zeros(num_envs, bool)  # For the end of what is not learned from.

    @property
    def at_start(self) -> bool:
        """Whether every environment is at the start of an episode."""
        return bool(np.all(self._at_start))

    def append(self, observation: list[np.ndarray], acted: PolicyStep, step: Step) -> None:
        """Adds one step of every environment.

        Args:
            observation: list of `[N, ...]` leaf arrays that was acted on.
            acted: the `PolicyStep` that was taken; its `action` as it was drawn.
            step: the `Step` that followed.

        Raises:
            EnvError: when an episode goes on for longer than `max_steps`.
        """
        if self._buffer is None:
            self._buffer = RolloutBuffer(self._packer, self.env_steps)
        ended = step.valid & (step.terminated | step.truncated)
        active = np.array([bool(left) for left in self._left]) & step.valid & ~self._waiting
        self._write_step(observation, acted, step, active)
        for env in np.nonzero(active & ended)[0]:
            self._left[env].pop(0)
            self._times[env] = 0
        for env in np.nonzero(step.cut & (self._times > 0))[0]:
            self._buffer.drop(self._left[env][0])
            self._times[env] = 0
        over = ended | step.cut
        self._at_start = over | (self._at_start & ~step.valid)
        self._waiting &= ~over
        self._check_length()
        self.env_steps += np.count_nonzero(step.valid)
        if not any(self._left):
            self._write()

    def get_state(self) -> dict[str, Any]:
        """The episodes that are begun and not yet written."""
        buffer = self._buffer
        return {
            "packed": None if buffer is None else buffer.packed.copy(),
            "done": [
                len(share) - len(left) for share, left in zip(self._shares, self._left, strict=True)
            ],
            "times": self._times.copy(),
            "at_start": self._at_start.copy(),
            "waiting": self._waiting.copy(),
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Goes on where `get_state` was called."""
        self._buffer = None
        if state["packed"] is not None:
            self._buffer = RolloutBuffer(self._packer, 0)
            self._buffer.packed[:] = state["packed"]
        self._left = [share[done:] for share, done in zip(self._shares, state["done"], strict=True)]
        self._times[:] = state["times"]
        self._at_start[:] = state["at_start"]
        self._waiting[:] = state["waiting"]

    def _write_step(
        self, observation: list[np.ndarray], acted: PolicyStep, step: Step, active: np.ndarray
    ) -> None:
        buffer: RolloutBuffer = self._buffer  # type: ignore[assignment]
        column = np.array([left[0] if left else 0 for left in self._left])
        buffer.write((self._times[active], column[active]), observation, acted, step, of=active)
        truncated = active & step.truncated
        if np.count_nonzero(truncated):
            where = (self._times[truncated], column[truncated])
            buffer.write_next_policy(where, self._output(step.next_observation), of=truncated)
        self._times += active

    def _write(self) -> None:
        buffer: RolloutBuffer = self._buffer  # type: ignore[assignment]
        buffer.fill()
        self._buffer = None
        self._left = [list(share) for share in self._shares]
        self._waiting = ~self._at_start
        self.items += 1
        self._sink.insert(buffer.packed)

    def _check_length(self) -> None:
        if self._times.max() >= self._max_steps:
            env = int(self._times.argmax())
            raise EnvError(
                f"environment {env}: an episode has not ended after max_steps={self._max_steps} "
                "steps, and whole episodes are learned from. Pass CollectEpisodes(max_steps=...) "
                "with more, or wrap the environment in gymnasium.wrappers.TimeLimit."
            )
