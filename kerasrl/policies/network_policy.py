"""Acting as an agent does."""

from typing import Any

import numpy as np
import tensorflow as tf

from kerasrl.envs import EnvSpec
from kerasrl.errors import ArgumentError, NetworkError
from kerasrl.policies.conversion import Conversions
from kerasrl.policies.policy import Policy, PolicySpec, PolicyStep
from kerasrl.policies.snapshot import PolicySnapshot


class NetworkPolicy(Policy):
    """Acts with a copy of an agent's networks: greedily, or so as to explore.

    Greedy actions are those of `agent.call`. Exploring ones are drawn by `agent.explore` from what
    `agent.policy` computes.

    Args:
        agent: the agent, built.
        spec: `EnvSpec` of the environments.
        num_envs: int, N.
        rng: `numpy.random.Generator` to explore with; None to act greedily.
        conversions: `Conversions` of the agent's networks; None converts them anew.

    Raises:
        NetworkError: when the networks do not compute what they must.
    """

    def __init__(
        self,
        agent: Any,
        spec: EnvSpec,
        num_envs: int,
        rng: np.random.Generator | None = None,
        conversions: Conversions | None = None,
    ):
        self._agent, self._rng, self._num_envs = agent, rng, num_envs
        self._observation = tf.nest.flatten(spec.observation)
        self._beginning = _arrays(agent.initial_state())  # None, or a nest of one environment.
        recurrent = self._beginning is not None
        state_spec = tf.nest.map_structure(_spec_of, self._beginning) if recurrent else None
        # Not the agent itself: what Keras notes of a call that is traced would hold it for ever.
        compute = agent.call if rng is None else agent.policy
        self._snapshot = PolicySnapshot(
            compute, spec.observation, num_envs, state_spec, conversions
        )
        self._info = {} if rng is None else dict(agent.info_spec())
        self._spec = PolicySpec(
            output=() if rng is None else tf.nest.map_structure(_of_one, self._snapshot.output),
            state=state_spec if recurrent else (),
            info=self._info,
        )
        self._leaves = tf.nest.flatten(self._beginning) if recurrent else []
        self._state: list[np.ndarray] = []
        self.reset(np.ones(num_envs, bool))

    @property
    def spec(self) -> PolicySpec:
        """What it gives besides actions; nothing is stored of greedy ones."""
        return self._spec

    @property
    def version(self) -> int:
        """Which weights it acts with: the number of `update`s, or what `set_weights` was told."""
        return self._snapshot.version

    def __call__(self, observation: list[np.ndarray]) -> PolicyStep:
        """Chooses actions for a list of `[N, ...]` leaf arrays, and moves the state on.

        Raises:
            ArgumentError: when the arrays are not of the observation space, or `agent.explore` does
                not return what `agent.info_spec` says.
        """
        state = self._state
        computed = self._compute(observation)
        if self._leaves:
            computed, self._state = computed
        if self._rng is None:
            return PolicyStep(computed, (), state)
        explored = self._agent.explore(computed, self._rng)
        if self._info:
            self._check_info(explored)
            action, info = explored
            return PolicyStep(action, computed, state, info)
        return PolicyStep(explored, computed, state)

    def output(self, observation: list[np.ndarray]) -> Any:
        """What the networks compute for observations that are not acted on."""
        computed = self._compute(observation)
        return computed[0] if self._leaves else computed

    def reset(self, where: np.ndarray) -> None:
        """Puts the state back to `agent.initial_state()` where it is True, a bool array `[N]`."""
        if not self._leaves:
            return
        if not self._state:
            self._state = [np.stack([leaf] * self._num_envs) for leaf in self._leaves]
        self._state = [leaf.copy() for leaf in self._state]  # The old ones are others' by now.
        for state, leaf in zip(self._state, self._leaves, strict=True):
            state[where] = leaf

    def update(self) -> None:
        """Takes over the agent's present weights."""
        self._snapshot.update()

    def check_weights(self) -> None:
        """Raises `NonFiniteLoss` when the agent's weights have become NaN."""
        self._snapshot.check_weights()

    def weights(self) -> tuple[int, list[np.ndarray]]:
        """The version and the arrays of its weights, for a policy of the same agent elsewhere."""
        return self._snapshot.weights()

    def set_weights(self, version: int, arrays: list[np.ndarray]) -> None:
        """Takes over what `weights` gave, perhaps in another process."""
        self._snapshot.set_weights(version, arrays)

    def _compute(self, observation: list[np.ndarray]) -> Any:
        try:
            if self._leaves:
                return self._snapshot(observation, self._state)
            return self._snapshot(observation)
        except (ValueError, TypeError, AttributeError, tf.errors.InvalidArgumentError) as error:
            expected = [((self._num_envs, *x.shape), x.dtype.name) for x in self._observation]
            if isinstance(observation, list | tuple):
                received = [(np.shape(x), str(getattr(x, "dtype", type(x)))) for x in observation]
                if received == expected:
                    raise
            raise ArgumentError(
                f"a policy acts on a list of arrays, {expected} here; received {observation!r}. "
                "Put the observation of a single environment into a batch of one, "
                "[observation[numpy.newaxis]]."
            ) from error

    def _check_info(self, explored: Any) -> None:
        pair = isinstance(explored, tuple) and len(explored) == 2
        if not pair or not isinstance(explored[1], dict) or set(explored[1]) != set(self._info):
            raise ArgumentError(
                f"explore must return (actions, info), info with {sorted(self._info)} as "
                f"info_spec() says; received {explored!r}."
            )

    def get_state(self) -> dict[str, Any]:
        """The state of the random numbers, and the recurrent one."""
        random = None if self._rng is None else self._rng.bit_generator.state
        return {"random": random, "recurrent": [leaf.copy() for leaf in self._state]}

    def set_state(self, state: dict[str, Any]) -> None:
        """Goes on where `get_state` was called."""
        if self._rng is not None:
            self._rng.bit_generator.state = state["random"]
        self._state = [leaf.copy() for leaf in state["recurrent"]]


def of_networks(make_policy: Any) -> Any:
    """Marks a `make_policy` whose policy is what the networks compute, as exports are."""
    make_policy.of_networks = True
    return make_policy


def acts_by_networks(agent: Any) -> bool:
    """Whether an agent acts by what its networks compute, and not by a search or the like."""
    return getattr(type(agent).make_policy, "of_networks", False)


def _arrays(nest: Any) -> Any:
    """A recurrent state as arrays; None without one."""
    if nest is None:
        return None
    if not tf.nest.flatten(nest):
        raise NetworkError(
            f"initial_state() must return a nest of arrays, or None without a state; received "
            f"{nest!r}."
        )
    return tf.nest.map_structure(np.asarray, nest)


def _spec_of(array: np.ndarray) -> tf.TensorSpec:
    return tf.TensorSpec(array.shape, array.dtype)


def _of_one(spec: tf.TensorSpec) -> tf.TensorSpec:
    return tf.TensorSpec(spec.shape[1:], spec.dtype)
