"""From steps of environments to n-step transitions."""

from typing import Any

import numpy as np
import tensorflow as tf

from kerasrl.arguments import fraction, whole
from kerasrl.envs import EnvSpec, Step
from kerasrl.experience.experience import Experience, Sink, check_info, with_info
from kerasrl.policies.policy import Policy, PolicySpec, PolicyStep

_COLUMNS = ("observation", "action", "reward", "discount", "next_observation")
_NOTHING = PolicySpec()


def transition_spec(spec: EnvSpec) -> dict[str, Any]:
    """The transition that a `TransitionWriter` writes, as nests of `tf.TensorSpec`.

    `observation` and `next_observation` are the environment's, `action` is what was passed to its
    `step`. `reward` is the sum of the k <= n rewards from the observation on, each discounted.
    `discount` is `discount ** (k - 1)`, and 0 where the episode terminated, so that an agent
    bootstraps with `agent.discount * discount`; for 1-step transitions it is 1 or 0.
    """
    return {
        "observation": spec.observation,
        "action": spec.action,
        "reward": tf.TensorSpec((), tf.float32),
        "discount": tf.TensorSpec((), tf.float32),
        "next_observation": spec.observation,
    }


class TransitionWriter:
    """Turns the steps of N environments into n-step transitions.

    A transition spans n steps, or fewer where its episode ends. At a truncation it bootstraps from
    the episode's real last observation; at a termination its discount is 0. Nothing of an autoreset
    step is written. Where an environment failed, transitions of less than n steps are dropped, and
    so are those of an episode that is cut off from outside.

    Args:
        sink: the replay to write to.
        num_envs: int, N.
        n_step: int, n >= 1.
        discount: float, per step, for summing the rewards within a transition.

    Attributes:
        items: int, transitions written since it was made.
        env_steps: int, see `kerasrl.experience.Writer`; transitions do not tell it.

    Raises:
        ArgumentError: when `n_step` is less than 1.
        ReplayError: when the replay is not open, and so does not know what it is to hold.

    Reference:
        Sutton and Barto, "Reinforcement Learning: An Introduction", 2018, section 7.1.
    """

    def __init__(self, sink: Sink, num_envs: int, n_step: int, discount: float):
        n_step, discount = whole("n_step", n_step), fraction("discount", discount)
        self.items = self.env_steps = 0
        self._sink = sink
        self._fields = sink.packer.fields
        self._info = tuple(key for key in self._fields if key not in _COLUMNS)
        (self._reward,), (self._bootstrap,) = self._fields["reward"], self._fields["discount"]
        self._n_step = n_step
        self._discounts = discount ** np.arange(n_step)
        # Row t % n of the window holds the transitions that began at time t.
        self._window = sink.packer.rows((n_step, num_envs))
        self._open = np.zeros(num_envs, np.int64)  # Transitions begun and not yet written.
        self._time = 0

    def append(self, observation: list[np.ndarray], acted: PolicyStep, step: Step) -> None:
        """Adds one step of every environment.

        Args:
            observation: list of `[N, ...]` leaf arrays that was acted on.
            acted: the `PolicyStep` that was taken; its `info` is stored in the transition that
                begins with it.
            step: the `Step` that followed.
        """
        began = self._window[self._time % self._n_step]
        self._set(began, "observation", observation)
        self._set(began, "action", [acted.action])
        if self._info:
            check_info(self._info, acted)
            for key in self._info:
                self._set(began, key, [acted.info[key]])
        began[self._reward] = 0.0
        self._open += step.valid
        ended = step.valid & (step.terminated | step.truncated)
        any_ended = np.count_nonzero(ended)  # Some ten times as fast as any() on small arrays.
        for age in reversed(range(self._n_step)):
            rows = self._window[(self._time - age) % self._n_step]
            rows[self._reward] += self._discounts[age] * step.reward
            if age == self._n_step - 1:
                self._write(rows, step.valid & (self._open > age), age, step)
            elif any_ended:
                self._write(rows, ended & (self._open > age), age, step)
        np.minimum(self._open, self._n_step - 1, out=self._open)
        if any_ended:
            self._open[ended] = 0
        if np.count_nonzero(step.cut):
            self._open[step.cut] = 0
        self._time += 1

    def get_state(self) -> dict[str, Any]:
        """The transitions that are begun and not yet written."""
        return {"window": self._window.copy(), "open": self._open.copy(), "time": self._time}

    def set_state(self, state: dict[str, Any]) -> None:
        """Goes on where `get_state` was called."""
        self._window[:] = state["window"]
        self._open[:] = state["open"]
        self._time = state["time"]

    def _write(self, rows: np.ndarray, complete: np.ndarray, age: int, step: Step) -> None:
        count = np.count_nonzero(complete)
        if not count:
            return
        rows[self._bootstrap] = np.where(step.terminated, 0.0, self._discounts[age])
        self._set(rows, "next_observation", step.next_observation)
        self.items += count
        self._sink.insert(rows if count == len(rows) else rows[complete])

    def _set(self, rows: np.ndarray, key: str, leaves: list[np.ndarray]) -> None:
        for field, leaf in zip(self._fields[key], leaves, strict=True):
            rows[field] = leaf


class Transitions(Experience):
    """n-step transitions, with what the policy stores beside its actions.

    Args:
        n_step: int, rewards summed in a transition before bootstrapping.
        discount: float in [0, 1], per environment step.
    """

    def __init__(self, n_step: int = 1, discount: float = 0.99):
        self.n_step = whole("n_step", n_step)
        self.discount = fraction("discount", discount)

    def spec(
        self, env_spec: EnvSpec, policy_spec: PolicySpec = _NOTHING, num_envs: int = 1
    ) -> dict[str, Any]:
        """One transition, see `transition_spec`, and what the policy stored at its first step."""
        return with_info(transition_spec(env_spec), policy_spec.info)

    def writer(
        self, sink: Sink, num_envs: int = 1, policy: Policy | None = None
    ) -> TransitionWriter:
        """Makes a `TransitionWriter`."""
        return TransitionWriter(sink, num_envs, self.n_step, self.discount)
