"""Adapting the normalisers of an agent to what each of them is fed."""

from typing import Any

import keras
import tensorflow as tf

from kerasrl.errors import NetworkError
from kerasrl.networks import ObservationNormalization
from kerasrl.networks.observation_normalization import normalizer_calls
from kerasrl.training.building import built_spec


class Normalizing:
    """How to adapt the normalisers of an agent to a batch of observations.

    A normaliser may be fed the whole observation, some leaves of it, or what layers before it make
    of them. Which, is seen by tracing `agent.feed` once. A normaliser of leaves is given those;
    only for others is the network run.

    Args:
        agent: agent that has its networks and its spaces.

    Raises:
        NetworkError: when a normaliser is fed what observations alone do not tell.
    """

    def __init__(self, agent: keras.Model):
        self._agent = agent
        self._normalizers = agent.observation_normalizers
        if not self._normalizers:
            return
        spec = built_spec(agent)
        self._observation = tf.nest.map_structure(_batched, spec.observation)
        self._action = _batched(spec.action)
        self._routes = self._traced_routes()
        signature = tf.nest.flatten(self._observation)
        self._adapt = tf.function(self._adapt_all, signature, autograph=False)

    def adapt(self, observation: Any) -> None:
        """Adapts all normalisers to a batch, a nest of arrays or tensors `[M, ...]`."""
        if self._normalizers:
            tf.nest.assert_same_structure(observation, self._observation)
            self._adapt(*tf.nest.flatten(observation))

    def _adapt_all(self, *leaves: tf.Tensor) -> None:
        calls = []
        if any(isinstance(source, int) for _, source in self._routes):
            action = tf.zeros((tf.shape(leaves[0])[0], *self._action.shape[1:]), self._action.dtype)
            with normalizer_calls() as calls:
                self._agent.feed(tf.nest.pack_sequence_as(self._observation, leaves), action)
        for normalizer, source in self._routes:
            if isinstance(source, int):
                normalizer.merge(calls[source][1])
            else:
                normalizer.merge([leaves[index] for index in source])
        for target in self._agent.targets:
            target.take_statistics()

    def _traced_routes(self) -> list[tuple[ObservationNormalization, tuple[int, ...] | int]]:
        """Where every normaliser is fed from: leaves, or what reaches it at some call in `feed`."""
        calls: list[tuple[Any, Any]] = []

        def feed(observation: Any, action: tf.Tensor) -> None:
            with normalizer_calls() as made:
                self._agent.feed(observation, action)
            calls.extend(made)

        function = tf.function(feed, autograph=False)
        graph = function.get_concrete_function(self._observation, self._action).graph
        *leaves, action = graph.inputs[: len(tf.nest.flatten(self._observation)) + 1]
        routes: list[tuple[Any, Any]] = []
        for number, (normalizer, inputs) in enumerate(calls):
            indices = self._leaf_indices(normalizer, tf.nest.flatten(inputs), leaves, action)
            route = (normalizer, number if indices is None else indices)
            if route not in routes:  # Networks may share a normaliser; nothing counts twice.
                routes.append(route)
        return routes + self._unreached({id(normalizer) for normalizer, _ in routes})

    def _leaf_indices(
        self, normalizer: Any, fed: list[Any], leaves: list[tf.Tensor], action: tf.Tensor
    ) -> tuple[int, ...] | None:
        """The leaves of the observation that a normaliser is fed, if it is fed nothing else."""
        if any(tensor.graph is not action.graph for tensor in fed):
            raise NetworkError(
                f"{normalizer.name} normalises within a loop or a function of its own, where what "
                "it is fed cannot be seen. Call it before."
            )
        if _depends(fed, action):
            raise NetworkError(
                f"{normalizer.name} is fed what depends on the action, and is adapted to "
                "observations only. Normalise before the action is joined."
            )
        sources = [_behind_identities(tensor) for tensor in fed]
        indices = [[i for i, leaf in enumerate(leaves) if leaf is source] for source in sources]
        return tuple(index for (index,) in indices) if all(indices) else None

    def _unreached(self, reached: set[int]) -> list[tuple[Any, tuple[int, ...]]]:
        """Normalisers that `feed` does not call, which then have to be of the whole observation."""
        routes = []
        shapes = [leaf.shape[1:] for leaf in tf.nest.flatten(self._observation)]
        for normalizer in self._normalizers:
            if id(normalizer) in reached:
                continue
            if not normalizer.built or [mean.shape for mean in normalizer.means] != shapes:
                raise NetworkError(
                    f"nothing says what {normalizer.name} is fed: {type(self._agent).__name__}."
                    "feed(observation, action) does not call the network that it is in. Have it do "
                    "so."
                )
            routes.append((normalizer, tuple(range(len(shapes)))))
        return routes


def _batched(spec: tf.TensorSpec) -> tf.TensorSpec:
    return tf.TensorSpec((None, *spec.shape), spec.dtype)


def _behind_identities(tensor: tf.Tensor) -> tf.Tensor:
    while tensor.op.type == "Identity":
        tensor = tensor.op.inputs[0]
    return tensor


def _depends(tensors: list[tf.Tensor], source: tf.Tensor) -> bool:
    """Whether any of the tensors is computed from the source."""
    waiting, seen = list(tensors), set()
    while waiting:
        tensor = waiting.pop()
        if tensor is source:
            return True
        if id(tensor) not in seen:
            seen.add(id(tensor))
            waiting.extend(tensor.op.inputs)
    return False
