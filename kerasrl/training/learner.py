"""What a gradient step is made of: gradients, layers' losses, noise, counts and running means."""

from functools import partial
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kerasrl.arguments import seed_of
from kerasrl.compatibility import ALIKE, FIT_RESUMES, raw, steps_per_execution, to_apply
from kerasrl.errors import ArgumentError
from kerasrl.private import ResumableModel
from kerasrl.training import loop, precision
from kerasrl.training.ending import TrainFunction
from kerasrl.training.layer_losses import has_layer_losses, layer_loss
from kerasrl.training.new_priorities import NewPriorities
from kerasrl.training.noise import stateless_normal

_REGULARIZATION = "regularization_loss"
_STREAM = 3  # Random numbers apart from those of whatever else has the run's seed.


class Learner(ResumableModel):
    """The part of `Agent` that `train_step` is written with."""

    log_names: tuple[str, ...] = ("loss",)
    settings: tuple[str, ...] = ()
    noise_seed: tf.Variable
    gradient_steps: tf.Variable
    train_function: Any
    _trackers: list[keras.metrics.Metric]

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        with self.distribute_strategy.scope():
            self._new_priorities = NewPriorities()
        self._several = False

    def minimize(
        self,
        loss: tf.Tensor,
        tape: tf.GradientTape,
        variables: list[tf.Variable],
        optimizer: keras.optimizers.Optimizer,
    ) -> None:
        """Takes one step of `optimizer` down the gradient of `loss`.

        Args:
            loss: float32 scalar, the mean over this replica's part of the batch, with the
                `layer_loss` of the networks whose loss it is.
            tape: the tape that recorded it.
            variables: list of variables to change.
            optimizer: their optimizer.
        """
        gradients = precision.gradient(tape, loss, variables, optimizer)
        replicas = tf.distribute.get_strategy().num_replicas_in_sync
        if replicas > 1:  # The optimizer sums over replicas.
            gradients = [g if g is None else tf.math.scalar_mul(1 / replicas, g) for g in gradients]
        gradients = to_apply(optimizer, gradients)
        optimizer.apply_gradients(zip(gradients, variables, strict=True))

    def mean(self, batch: dict[str, Any], x: tf.Tensor) -> tf.Tensor:
        """The mean over a batch, weighted where its examples have weights.

        Args:
            batch: dict that `train_step` was given.
            x: float32 `[B]`, or of the shape of the batch's `weight`.

        Returns:
            float32 scalar, `sum(weight * x) / size(x)`.
        """
        return tf.reduce_mean(batch["weight"] * x if "weight" in batch else x)

    def prioritize(self, batch: dict[str, Any], priorities: tf.Tensor) -> None:
        """Gives the items of a batch new priorities; does nothing where the replay has none.

        They leave the step through variables; `fit` hands them to the replay after every execution,
        and `take_priorities` gives them to whoever steps by hand.

        Args:
            batch: dict that `train_step` was given, with `key` where the replay has priorities.
            priorities: float `[B]`, not negative, such as the size of the error.

        Raises:
            ArgumentError: when there is not one priority for every item.
        """
        if "key" not in batch:
            return
        keys = batch["key"]
        if not keys.shape.is_compatible_with(priorities.shape):
            raise ArgumentError(
                f"prioritize needs one priority for every item, {keys.shape}; received "
                f"{priorities.shape}."
            )
        priorities = tf.cast(tf.stop_gradient(priorities), tf.float32)
        self._new_priorities.write(tf.cast(keys, tf.int64), priorities)

    def take_priorities(self) -> tuple[np.ndarray, np.ndarray]:
        """The priorities of the gradient steps since the last time, for a replay.

        By hand: `replay.update_priorities(*agent.take_priorities())` after `train_on_batch`.

        Returns:
            int64 `[M]`, the keys, and float32 `[M]`, their priorities; empty when `prioritize` was
            not called, or batches had no keys.
        """
        return self._new_priorities.take()

    def make_room_for_priorities(self, batch_size: int) -> None:
        """Makes room for the priorities of all gradient steps of an execution.

        Args:
            batch_size: int, B over all replicas.
        """
        replicas = self.distribute_strategy.num_replicas_in_sync
        steps = steps_per_execution(self)
        self._new_priorities.make_room(steps, batch_size // replicas)

    def layer_loss(self, *networks: Any) -> Any:
        """What the layers of networks add to their loss: regularisers, and `add_loss`.

        To be called under the tape, once for all networks that one loss trains, right after they
        were called on the batch: a further call of a network begins its losses anew.

        Args:
            *networks: Keras models; a layer that several of them have counts once.

        Returns:
            float32 scalar to be added to the loss, scaled as in Keras; 0.0 where no layer has any.
        """
        return layer_loss(*networks)

    def track(self, **values: Any) -> dict[str, tf.Tensor]:
        """Counts the gradient step, and returns the epoch's running means, as `train_step` has to.

        Args:
            **values: float scalars by the names in `log_names`, and, if one likes, what
                `layer_loss` gave as `regularization_loss`, which is logged if there is any.
        """
        if set(values) - {_REGULARIZATION} != set(self.log_names):
            raise ArgumentError(
                f"track needs the values that {type(self).__name__}.log_names lists, "
                f"{sorted(self.log_names)}; received {sorted(values)}."
            )
        for tracker in self._trackers:
            tracker.update_state(values.get(tracker.name, 0.0))
        computed = [value for value in values.values() if tf.is_tensor(value)]
        with tf.control_dependencies(computed):  # A step that fails does not count.
            self.gradient_steps.assign_add(1)
        return {tracker.name: tracker.result() for tracker in self._trackers}

    def random_normal(self, shape: Any, salt: int) -> tf.Tensor:
        """Draws standard normal noise for this gradient step.

        It is a function of `noise_seed`, `gradient_steps` and `salt` alone: the same eagerly, in a
        graph and under XLA, and each replica has its own part of one global draw.

        Args:
            shape: int tensor or sequence, beginning with this replica's batch size.
            salt: int, another one for every draw in a `train_step`.

        Returns:
            float32 tensor of `shape`.
        """
        return stateless_normal(shape, self.noise_seed + salt, raw(self.gradient_steps))

    def reseed(self, seed: int | None) -> None:
        """Seeds `random_normal`; None seeds it from the operating system's randomness."""
        seed = seed_of(seed)
        rng = np.random.default_rng(None if seed is None else [seed, _STREAM])
        self.noise_seed.assign(int(rng.integers(2**31)))

    def setting(self, name: str, value: float) -> tf.Variable:
        """Adds a float32 weight that is not trained, for callbacks to change while training.

        If the attribute that it becomes has its name, it is logged in every epoch.
        """
        with self.distribute_strategy.scope():
            initializer = keras.initializers.Constant(value)
            weight = self.add_weight(name=name, shape=(), initializer=initializer, trainable=False)
        self.settings = (*self.settings, name)
        return weight

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """The running means that `train_step` returns."""
        return self._trackers

    def make_train_function(self, force: bool = False) -> TrainFunction:
        """Makes what Keras calls for every execution."""
        several = FIT_RESUMES and steps_per_execution(self) > 1
        if self.train_function is not None and several == self._several and not force:
            return self.train_function
        self._several = several
        of_keras = partial(super().make_train_function, force=True)
        make = of_keras if FIT_RESUMES else partial(loop.steps_function, self)
        self.train_function = TrainFunction(self, make())
        return self.train_function

    def _track_layer_losses(self) -> None:
        if has_layer_losses(self):
            self._trackers.append(keras.metrics.Mean(_REGULARIZATION, "float32"))

    def _counter(self, name: str, value: int = 0) -> tf.Variable:
        return self.add_weight(
            name=name,
            shape=(),
            dtype="int64",
            initializer=keras.initializers.Constant(value),
            trainable=False,
            **ALIKE,
        )
