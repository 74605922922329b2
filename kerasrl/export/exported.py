"""Acting with a policy that was exported."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import tensorflow as tf

from kerasrl.compatibility import interpreter
from kerasrl.envs import EnvSpec
from kerasrl.envs.observations import ObservationReader
from kerasrl.errors import AgentStateError, ArgumentError, EnvError, LoadError
from kerasrl.export.input_names import state_names
from kerasrl.export.manifest import check_files, initial_state, read_info
from kerasrl.native_log import muted

_ATTEMPTS = 10  # To load what another process is exporting to.


class ExportedPolicy:
    """A policy without its agent, made by `kerasrl.load_policy`.

    It is also a callable such as `kerasrl.evaluate(env, policy)` takes.

    Attributes:
        spec: `EnvSpec` of the spaces.
        observation_space: `gymnasium.Space` of one observation.
        action_space: `gymnasium.Space` of one action.
        info: dict, what `policy.json` says: among other things `agent`, `env_steps`, and `results`,
            what the policy was worth, or None if that was not measured.
    """

    def __init__(
        self,
        spec: EnvSpec,
        info: dict[str, Any],
        functions: dict[str, Callable[..., dict[str, np.ndarray]]],
    ):
        self.spec = spec
        self.observation_space: gym.Space = spec.observation_space
        self.action_space: gym.Space = spec.action_space
        self.info = info
        self._functions = functions
        self._reader = ObservationReader(spec.observation_space)
        self._start = _states(info)

    def initial_state(self, num_envs: int = 1) -> dict[str, np.ndarray]:
        """The recurrent state that episodes begin with.

        Args:
            num_envs: int, N.

        Returns:
            Dict of arrays `[N, ...]` by their names; empty of a policy without a state.
        """
        return {
            name: np.repeat(leaf[np.newaxis], num_envs, axis=0)
            for name, leaf in self._start.items()
        }

    def act(self, observation: Any, state: dict[str, np.ndarray] | None = None) -> Any:
        """Chooses the greedy actions.

        Args:
            observation: nest of arrays `[N, ...]` with the structure of `observation_space`, as
                for `agent.predict`, N at least 1.
            state: dict of arrays `[N, ...]`, the recurrent state of a policy that has one:
                `initial_state(N)` where an episode begins, and then what the step before returned.

        Returns:
            `[N, ...]` array of actions in the environment's own units; of a policy with a state a
            tuple of that and the next state.

        Raises:
            ArgumentError: when the observations are not of the space, or the state is not the
                policy's.
        """
        return self._run("act", self._leaves(observation), state)

    def sample(self, observation: Any, state: dict[str, np.ndarray] | None = None) -> Any:
        """Draws actions from the policy: others at every call, and after every load.

        Args:
            observation: as for `act`.
            state: as for `act`.

        Returns:
            As of `act`.

        Raises:
            AgentStateError: when the policy has but one action for an observation.
            ArgumentError: when the observations are not of the space.
        """
        if "sample" not in self._functions:
            raise AgentStateError(
                f"the policy of a {self.info['agent']} has one action for an observation and none "
                "to sample. Use act."
            )
        return self._run("sample", self._leaves(observation), state)

    def __call__(
        self, observation: list[np.ndarray], state: dict[str, np.ndarray] | None = None
    ) -> Any:
        """Chooses the greedy actions for leaf arrays, as a run of episodes has them.

        Args:
            observation: list of `[N, ...]` leaf arrays in `tf.nest` order.
            state: as for `act`.

        Returns:
            As of `act`.
        """
        return self._run("act", observation, state)

    def _run(self, name: str, leaves: list[np.ndarray], state: dict[str, np.ndarray] | None) -> Any:
        state = {} if state is None else state
        self._check_state(state, len(leaves[0]))
        results = self._functions[name](leaves, state)
        if not self._start:
            return results["action"]
        return results["action"], {key: results[key] for key in self._start}

    def _check_state(self, state: Any, num_envs: int) -> None:
        if not self._start and not state:
            return
        expected = {n: ((num_envs, *x.shape), x.dtype) for n, x in self._start.items()}
        received = state
        if isinstance(state, dict):
            received = {n: (np.shape(x), np.asarray(x).dtype) for n, x in state.items()}
        if received != expected:
            raise ArgumentError(
                f"state must be the recurrent state of the policy, {expected}; received "
                f"{received}. Pass initial_state({num_envs}) where episodes begin, and then what "
                "act returned beside the actions."
            )

    def _leaves(self, observation: Any) -> list[np.ndarray]:
        shape = np.shape(_first_leaf(self.observation_space, observation))
        if not shape or not shape[0]:
            raise ArgumentError(
                "a policy acts on a batch of at least one observation, [N, ...]; received "
                f"{observation!r}. Put a single one into a batch of one."
            )
        try:
            return self._reader.read_batch(observation, shape[0])
        except EnvError as error:
            raise ArgumentError(
                f"{error}. A policy acts on a batch of observations, [N, ...]; put one into a "
                "batch of one."
            ) from error


def _first_leaf(space: Any, observation: Any) -> Any:
    """The first leaf of a batch of observations, or anything if it has another structure."""
    while isinstance(space, gym.spaces.Dict | gym.spaces.Tuple):
        key: Any = min(space) if isinstance(space, gym.spaces.Dict) else 0
        try:
            space, observation = space[key], observation[key]
        except (KeyError, IndexError, TypeError):
            return [observation]  # Which the reader finds fault with.
    return observation


def load_policy(directory: str | os.PathLike[str]) -> ExportedPolicy:
    """Loads a policy that `agent.export_policy` has written, in whichever format.

    `policy.json` is read without trusting it, and files that have changed since are refused. But
    an exported policy is a program, and running a program is what it is for: load none that comes
    from somebody you would not take a program from.

    Args:
        directory: str or path.

    Returns:
        `ExportedPolicy`.

    Raises:
        LoadError: when there is no whole policy.
        MismatchError: when a newer version of kerasrl wrote it.
    """
    path = Path(directory)
    for _ in range(_ATTEMPTS):
        info, spec = read_info(path)
        try:
            functions = _functions(path, info, spec)
        except LoadError:
            if read_info(path)[0] == info:
                raise
            continue
        if read_info(path)[0] == info:
            return ExportedPolicy(spec, info, functions)
    raise LoadError(f"the policy in {path} was replaced {_ATTEMPTS} times while it was loaded.")


def _functions(path: Path, info: dict[str, Any], spec: EnvSpec) -> dict[str, Callable]:
    check_files(path, info)
    load = _load_tflite if info["format"] == "tflite" else _load_saved_model
    try:
        return load(path, info, spec)
    except LoadError:
        raise
    except Exception as error:  # TensorFlow raises whatever it likes.
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise LoadError(f"the policy in {path} cannot be loaded: {reason}") from error


def _load_saved_model(path: Path, info: dict[str, Any], spec: EnvSpec) -> dict[str, Callable]:
    loaded = tf.saved_model.load(str(path))
    return {name: _signature(loaded, name, info, spec) for name in info["signatures"]}


def _signature(loaded: Any, name: str, info: dict[str, Any], spec: EnvSpec) -> Callable:
    signature = loaded.signatures[name]
    _, inputs = signature.structured_input_signature
    described = {key: (leaf.dtype, tuple(leaf.shape)) for key, leaf in inputs.items()}
    outputs = signature.structured_outputs
    given = {key: (leaf.dtype, tuple(leaf.shape)) for key, leaf in outputs.items()}
    _check_signature(name, described, given, info, spec)

    def run(observation: list[np.ndarray], state: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        leaves = dict(zip(info["inputs"], observation, strict=True)) | state
        results = loaded.signatures[name](**{k: tf.constant(x) for k, x in leaves.items()})
        return {key: result.numpy() for key, result in results.items()}

    return run


def _load_tflite(path: Path, info: dict[str, Any], spec: EnvSpec) -> dict[str, Callable]:
    with muted():
        made = interpreter(model_path=str(path / "policy.tflite"))
        return {name: _runner(made, name, info, spec) for name in info["signatures"]}


def _runner(interpreter: Any, name: str, info: dict[str, Any], spec: EnvSpec) -> Any:
    runner = interpreter.get_signature_runner(name)
    inputs, outputs = (
        {
            key: (tf.as_dtype(detail["dtype"]), _unknown(detail["shape_signature"]))
            for key, detail in details.items()
        }
        for details in (runner.get_input_details(), runner.get_output_details())
    )
    _check_signature(name, inputs, outputs, info, spec)

    def run(observation: list[np.ndarray], state: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return runner(**dict(zip(info["inputs"], observation, strict=True)), **state)

    return run


def _unknown(shape: np.ndarray) -> tuple[int | None, ...]:
    return tuple(None if length < 0 else int(length) for length in shape)


def _check_signature(
    name: str,
    inputs: dict[str, tuple],
    outputs: dict[str, tuple],
    info: dict[str, Any],
    spec: EnvSpec,
) -> None:
    """Raises `LoadError` unless a function takes and gives what the spaces and the state say."""
    states = {
        key: (tf.as_dtype(leaf.dtype), (None, *leaf.shape)) for key, leaf in _states(info).items()
    }
    leaves = zip(info["inputs"], tf.nest.flatten(spec.observation), strict=True)
    expected = {key: (leaf.dtype, (None, *leaf.shape)) for key, leaf in leaves} | states
    given = {"action": (spec.action.dtype, (None, *spec.action.shape))} | states
    if inputs != expected or outputs != given:
        raise LoadError(
            f"the exported {name} does not fit the spaces in policy.json: it takes {inputs} and "
            f"gives {outputs}, where they need {expected} and {given}."
        )


def _states(info: dict[str, Any]) -> dict[str, np.ndarray]:
    """The recurrent state that an episode of one environment begins with, by its names."""
    leaves = initial_state(info)
    return dict(zip(state_names(len(leaves)), leaves, strict=True))
