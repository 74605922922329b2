"""What an agent does with a batch that it is handed: a step, or the actions for it."""

import contextlib
from collections.abc import Iterator
from typing import Any

import keras
import tensorflow as tf

from kerasrl.compatibility import set_steps_per_execution, steps_per_execution
from kerasrl.errors import AgentStateError, ArgumentError, ArgumentTypeError
from kerasrl.networks import ObservationNormalization, Target, all_layers
from kerasrl.replay import conforming
from kerasrl.training import building, opening
from kerasrl.training.keras_arguments import explaining
from kerasrl.training.learner import Learner
from kerasrl.training.offline import OfflineData, item_spec


class Batchwise(Learner):
    """The part of `Agent` that takes batches."""

    built: bool
    initial_state: Any
    _normalizing: Any

    @property
    def batch_keys(self) -> tuple[str, ...]:
        """What a batch must have to be learned from; by default all that an item has."""
        return tuple(item_spec(self))

    @explaining
    def train_on_batch(
        self, x: Any, *, reset_metrics: bool = True, return_dict: bool = False
    ) -> Any:
        """Takes one gradient step on one batch.

        Args:
            x: dict of `batch_keys`, nests of arrays or tensors `[B, ...]`, as from a dataset, with
                the environment's own rewards, which `reward_scale` scales.
            reset_metrics: bool, whether what is returned is of this batch alone, or the mean over
                all since the last time.
            return_dict: bool, whether to return a dict rather than a list.

        Returns:
            What `train_step` logs, as floats in the order of `log_names`; as in Keras, without a
            list around it when it is one.

        Raises:
            AgentStateError: when the agent is not built and compiled.
            ArgumentError, ArgumentTypeError: when the batch is not one that it can learn from.
        """
        logs = _train_on_batch(self, x, reset_metrics)
        values = list(logs.values())
        return logs if return_dict else values[0] if len(values) == 1 else values

    def test_on_batch(self, *args: Any, **kwargs: Any) -> Any:
        """Raises `ArgumentTypeError`: an agent is evaluated in environments."""
        raise ArgumentTypeError(
            f"{type(self).__name__} is evaluated by whole episodes, not on batches. Call "
            "evaluate(env)."
        )

    def predict(self, x: Any, *args: Any, **kwargs: Any) -> Any:
        """Computes the greedy actions for a batch of observations; the rest is as in Keras.

        Args:
            x: nest of arrays `[B, ...]` of the observation space; or what Keras takes besides, such
                as a `tf.data.Dataset` of these.

        Raises:
            ArgumentError: when they are not of the observation space, or not a batch.
        """
        with _step_by_step(self):
            return super().predict(_observations(self, x), *args, **kwargs)

    def predict_on_batch(self, x: Any) -> Any:
        """Computes the greedy actions for a batch of observations, as `predict` does."""
        with _step_by_step(self):
            return super().predict_on_batch(_observations(self, x))

    def __call__(self, observation: Any, *args: Any, **kwargs: Any) -> Any:
        """Computes the greedy actions for a batch of observations.

        Raises:
            ArgumentError: when they are not of the observation space, or not a batch.
        """
        if self.built:
            conforming.check_shapes(
                building.built_spec(self).observation, observation, "observation"
            )
        return super().__call__(observation, *args, **kwargs)

    def adapt(self, observation: Any) -> None:
        """Adapts every `ObservationNormalization` to what it is fed for a batch of observations.

        Target networks take over what has changed. While collecting, it is done by itself.

        Args:
            observation: nest of arrays or tensors `[M, ...]`, M at least 1, as the space has it.

        Raises:
            AgentStateError: when the agent is not built.
        """
        if not self.built:
            raise AgentStateError(f"{type(self).__name__} is not built. Call build(env) first.")
        self._normalizing.adapt(observation)

    def beginning(self, observation: Any) -> tuple[Any, ...]:
        """The states `[B, ...]` that `policy` takes where episodes begin; () without a memory.

        Args:
            observation: nest of tensors `[B, ...]`.
        """
        state = self.initial_state()
        if state is None:
            return ()
        count = tf.shape(tf.nest.flatten(observation)[0])[0]
        return (tf.nest.map_structure(lambda leaf: tf.repeat(leaf[None], count, axis=0), state),)

    @property
    def targets(self) -> list[Target]:
        """The agent's target networks."""
        return [layer for layer in self.layers if isinstance(layer, Target)]

    @property
    def observation_normalizers(self) -> list[ObservationNormalization]:
        """The layers that adapt to what is observed, those of target networks aside."""
        copies = {id(layer) for target in self.targets for layer in all_layers(target)}
        found = [each for each in all_layers(self) if isinstance(each, ObservationNormalization)]
        return [layer for layer in found if id(layer) not in copies]


def _train_on_batch(agent: keras.Model, batch: Any, reset_metrics: bool) -> dict[str, float]:
    """Takes one gradient step; see `Agent.train_on_batch`."""
    opening.check_compiled(agent)
    if not agent.built:
        raise AgentStateError(
            f"{type(agent).__name__} is not built: its networks depend on the environment's "
            "spaces. Call build(env) first."
        )
    if not isinstance(batch, dict):
        raise ArgumentTypeError(
            f"train_on_batch takes one dict of {sorted(agent.batch_keys)}; received "
            f"{type(batch).__name__}."
        )
    if steps_per_execution(agent) > 1:
        raise ArgumentError(
            "train_on_batch takes one step, and an execution of this agent has more. Compile it "
            "with steps_per_execution=1."
        )
    building.check_optimizers(agent)
    building.make_slots_early(agent)
    if reset_metrics:
        agent.reset_metrics()
    if "key" in batch:
        agent.make_room_for_priorities(len(batch["key"]))
    dataset, data = tf.data.Dataset.from_tensors(batch), None
    if not agent.default_replay().consumed:  # Examples of rollouts are what they are.
        data = OfflineData(agent, dataset)
        dataset = data.prepared(data.dataset())
    strategy = agent.distribute_strategy
    with strategy.scope():
        iterator = iter(strategy.experimental_distribute_dataset(dataset))
        agent.train_function = agent.make_train_function()
        try:
            logs = agent.train_function(iterator)
        except tf.errors.OpError as error:
            if data is not None and (failure := data.failure()) is not None:
                raise failure from error
            raise
    return {name: float(value) for name, value in logs.items()}


@contextlib.contextmanager
def _step_by_step(agent: keras.Model) -> Iterator[None]:
    """Has Keras take single batches, while `fit` takes several gradient steps at once."""
    if agent.steps_per_execution is None:  # Of Keras 2, before it is compiled.
        yield
        return
    together = steps_per_execution(agent)
    set_steps_per_execution(agent, 1)
    try:
        yield
    finally:
        set_steps_per_execution(agent, together)


def _observations(agent: keras.Model, x: Any) -> Any:
    """Brings a batch of observations to the agent's space; what Keras iterates over stays."""
    iterated = isinstance(x, tf.data.Dataset | keras.utils.Sequence | Iterator)
    if iterated or not agent.built:
        return x
    return conforming.batch_of(building.built_spec(agent).observation, x, "observation")
