"""The agent: a Keras model that is fitted to an environment."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kerasrl.arguments import fraction, positive, whole
from kerasrl.callbacks import Collect
from kerasrl.experience import Experience, Transitions
from kerasrl.replay import Uniform
from kerasrl.training import building
from kerasrl.training.trainable import Trainable


class Agent(Trainable):
    """The base of every agent: a `keras.Model` whose data are environments.

    A subclass says what it learns with and how; everything that happens over time is a callback.
    It defines

    - `build_networks()`: makes the networks as attributes, when the spaces are known;
    - `policy(observation)`: what exploring needs, a tensor or a dict of them, such as probabilities
      or the parameters of a distribution; deterministic;
    - `call(observation)`: the greedy actions, in the environment's own units;
    - `explore(output, rng)`: NumPy actions to collect with, from what `policy` gave;
    - `sample(observation)`, if what it learns is a distribution: actions drawn from it by
      TensorFlow, within the bounds of the space, for those who use an exported policy;
    - `train_step(batch)`: one gradient step by `minimize`, of a loss in float32 to which
      `layer_loss(network)` is added, on a dict of `observation`, `action`, `reward`,
      `discount` and `next_observation`, see `kerasrl.replay.transition_spec`, or of what its own
      `batches(replay, batch_size)` makes of rollouts;
    - `default_callbacks()` and `default_replay()`: what it is trained with unless the user brings
      instances of their own;
    - `log_names`: the names that `train_step` hands to `track`;
    - `batch_keys`: what a batch must have for it to learn from, by default all that an item has;
    - `update_epochs`, if it learns from rollouts: passes over each of them, 1 by default;
    - `default_optimizer()`, made for each optimizer that `compile` is not given.

    `get_config`, which `save` needs, gives what its constructor was called with: the base notes it.
    An argument that stands for a network is kept as an attribute of that name. `resolved_arguments`
    are those whose value is found out later; the attributes of these names are what is saved.

    One that has several optimizers defines `compile(actor_optimizer=None, critic_optimizer=None,
    *, steps_per_execution=1, jit_compile=None, run_eagerly=None)` or the like, which hands them to
    `compile_optimizers`; and `optimized_variables()`, a dict from these names to the variables that
    each one changes. They are attributes, and saved and loaded, by these names.

    Args:
        discount: float in [0, 1], per environment step.
        n_step: int, rewards summed in a transition before bootstrapping.
        reward_scale: float, what rewards are multiplied by to learn from them; the returns that are
            logged are the environment's own.
        name: str.

    Attributes:
        observation_space, action_space: `gymnasium.Space`s, None before the agent is built.
        env_steps: int64 weight, environment steps collected in the agent's life; like every weight
            it goes back when weights are restored.
        gradient_steps: int64 weight, gradient steps taken in the agent's life, whatever optimizers
            it was compiled with; there once the agent is built.
        settings: tuple of str, the names of the weights that `setting` made.
        run: `kerasrl.run.Run` while `fit` is at work, else None.
    """

    built: bool
    default_batch_size: int | None = 256
    update_epochs: int = 1

    def __init__(
        self,
        discount: float = 0.99,
        n_step: int = 1,
        reward_scale: float = 1.0,
        name: str | None = None,
    ):
        building.check_eager()
        # Of float32 whatever the networks are; they cast observations themselves.
        super().__init__(name=name, dtype="float32", autocast=False)
        self.discount = fraction("discount", discount)
        self.n_step = whole("n_step", n_step)
        self.reward_scale = positive("reward_scale", reward_scale)
        self.observation_space: Any = None
        self.action_space: Any = None
        with self.distribute_strategy.scope():
            self.env_steps = self._counter("env_steps")
            self.noise_seed = self._counter("noise_seed")
        self.reseed(None)
        self._trackers = [keras.metrics.Mean(name, "float32") for name in self.log_names]

    def build_networks(self) -> None:
        """Makes the networks for `self.observation_space` and `self.action_space`."""
        raise NotImplementedError(f"{type(self).__name__} must define build_networks().")

    def policy(self, observation: Any) -> tf.Tensor:
        """Computes what exploring needs: a nest of tensors `[B, ...]`, for one of observations."""
        raise NotImplementedError(f"{type(self).__name__} must define policy(observation).")

    def explore(self, output: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Chooses actions to collect with, `[B, ...]`, from what `policy` gave."""
        raise NotImplementedError(f"{type(self).__name__} must define explore(output, rng).")

    def distribution(self, observation: Any) -> Any:
        """The distribution of actions, in the environment's units, of a policy that is one.

        Args:
            observation: nest of tensors `[B, ...]`.

        Returns:
            `tensorflow_probability.distributions.Distribution` of batch shape `[B]`, with `sample`,
            `log_prob`, `entropy`, `mode` and `kl_divergence`. That of a Box by a Gaussian is not
            clipped to the bounds.
        """
        raise NotImplementedError(
            f"{type(self).__name__} learns no distribution of actions; call it for greedy ones."
        )

    def initial_state(self) -> Any:
        """The recurrent state that an episode begins with, of one environment.

        Returns:
            Nest of tuples of arrays; None without one. With one, `policy` and `call` take a state
            `[B, ...]` as well, and return what they computed and the next state.
        """
        return None

    def info_spec(self) -> dict[str, tf.TensorSpec]:
        """What is stored beside the action, of one environment, by its name in a batch.

        With any, `explore` returns actions and a dict of these arrays `[B, ...]`.
        """
        return {}

    def experience(self) -> Experience:
        """What an item of the replay is, where `Collect` writes it."""
        return Transitions(self.n_step, self.discount)

    def default_callbacks(self) -> list[keras.callbacks.Callback]:
        """The callbacks that `fit` adds unless the user passes instances of their classes."""
        return [Collect()]

    def default_replay(self) -> Any:
        """The replay that `fit` opens unless the user passes one of its class."""
        return Uniform()

    def default_optimizer(self) -> Any:
        """A new optimizer, for each of `compile`'s that is not given; RMSprop, as in Keras."""
        return "rmsprop"

    def batches(self, replay: Any, batch_size: int | None) -> tf.data.Dataset:
        """The batches that `train_step` is given, out of the open replay."""
        return replay.dataset(batch_size)

    def feed(self, observation: Any, action: tf.Tensor) -> None:
        """Calls every network that takes observations, so that normalisers are seen to be fed.

        An agent of which `policy` does not call all networks extends it.

        Args:
            observation: nest of tensors `[B, ...]`.
            action: tensor `[B, ...]` of actions in the environment's own units.
        """
        self.policy(observation, *self.beginning(observation))

    def optimized_variables(self) -> dict[str, list[tf.Variable]]:
        """The variables that each of `compile`'s optimizers changes, by the argument's name."""
        return {"optimizer": self.trainable_variables}
