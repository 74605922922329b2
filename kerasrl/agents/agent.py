"""The agent: a Keras model that is fitted to an environment."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kerasrl.arguments import fraction, positive, whole
from kerasrl.callbacks import Collect
from kerasrl.errors import AgentStateError
from kerasrl.experience import Experience, Transitions
from kerasrl.networks import ObservationNormalization, Target, all_layers
from kerasrl.replay import Uniform
from kerasrl.training import building, precision
from kerasrl.training.keras_arguments import explaining
from kerasrl.training.normalizing import Normalizing
from kerasrl.training.trainable import Trainable


class Agent(Trainable):
    """The base of every agent: a `keras.Model` whose data are environments.

    A subclass says what it learns with and how; everything that happens over time is a callback.
    It defines

    - `build_networks()`: makes the networks as attributes, when the spaces are known;
    - `policy(observation)`: the one tensor that exploring needs, such as the probabilities of the
      actions or the parameters of a distribution; deterministic;
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
    - `batch_keys`: what a batch of a dataset must have for it to learn from, all five by default;
    - `update_epochs`, if it learns from rollouts: passes over each of them, 1 by default;
    - `default_optimizers()`, the optimizers that it is compiled with unless others are given.

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
    batch_keys: tuple[str, ...] = (
        "observation",
        "action",
        "reward",
        "discount",
        "next_observation",
    )
    update_epochs: int = 1

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "compile" in vars(cls):
            cls.compile = explaining(cls.compile)  # type: ignore[method-assign]

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
        self.run = None
        with self.distribute_strategy.scope():
            self.env_steps = self._counter("env_steps")
            self.noise_seed = self._counter("noise_seed")
        self.reseed(None)
        self._trackers = [keras.metrics.Mean(name, "float32") for name in self.log_names]

    def build_networks(self) -> None:
        """Makes the networks for `self.observation_space` and `self.action_space`."""
        raise NotImplementedError(f"{type(self).__name__} must define build_networks().")

    def policy(self, observation: Any) -> tf.Tensor:
        """Computes what exploring needs: one tensor `[B, ...]`, for a nest of observations."""
        raise NotImplementedError(f"{type(self).__name__} must define policy(observation).")

    def explore(self, output: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Chooses actions to collect with, `[B, ...]`, from what `policy` gave."""
        raise NotImplementedError(f"{type(self).__name__} must define explore(output, rng).")

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

    def default_optimizers(self) -> dict[str, Any]:
        """The optimizers of `compile` unless others are given; RMSprop, as in Keras, if missing."""
        return {}

    def batches(self, replay: Any, batch_size: int | None) -> tf.data.Dataset:
        """The batches that `train_step` is given, out of the open replay."""
        return replay.dataset(batch_size)

    def build(self, env: Any) -> None:
        """Builds the networks for an environment; `fit` does it when it is not done.

        Args:
            env: whatever `fit` takes as environment, or a `kerasrl.envs.EnvSpec`.

        Raises:
            SpaceError: when the agent cannot serve the spaces.
            AgentStateError: when it is called with shapes, as Keras does on a first call.
        """
        spec = building.spec_of(self, env)
        if self.built:
            building.check_same_spaces(self, spec)
            return
        self.observation_space, self.action_space = spec.observation_space, spec.action_space
        with self.distribute_strategy.scope():
            self.build_networks()
            self._track_layer_losses()
            # Last, so that the variables before it keep their numbers in files.
            self.gradient_steps = self._counter("gradient_steps")
        self._normalizing = Normalizing(self)
        self.built = True
        precision.scale_losses(self)

    @explaining
    def compile(
        self,
        optimizer: Any = None,
        *,
        steps_per_execution: int = 1,
        jit_compile: bool | None = None,
        run_eagerly: bool | None = None,
    ) -> None:
        """Sets the optimizer; losses are the agent's own, and the rest is as in Keras.

        Args:
            optimizer: Keras optimizer, or the name of one; by default the agent's own, see
                `default_optimizers`.
            steps_per_execution: int, gradient steps between callbacks. It must divide the number of
                updates that a rollout is for, where rollouts are learned from.
            jit_compile: bool, whether XLA compiles the step.
            run_eagerly: bool, whether it runs without a graph, to be debugged.

        Raises:
            ArgumentTypeError: when an argument is one of Keras's that means nothing here, or the
                optimizer is none, or one of `keras.optimizers.legacy`, which cannot be saved.
        """
        self.compile_optimizers(
            {"optimizer": optimizer},
            steps_per_execution=steps_per_execution,
            jit_compile=jit_compile,
            run_eagerly=run_eagerly,
        )

    def compile_optimizers(
        self,
        optimizers: dict[str, Any],
        *,
        steps_per_execution: int = 1,
        jit_compile: bool | None = None,
        run_eagerly: bool | None = None,
    ) -> None:
        """Does the work of `compile` for several optimizers, which become attributes.

        Args:
            optimizers: dict by the names of `compile`'s arguments, None for the agent's own. The
                first is `agent.optimizer`, too: when Keras's `LearningRateScheduler` or
                `ReduceLROnPlateau` changes its learning rate, those of the others keep their ratio
                to it. `LinearSchedule` reaches one alone, as `"critic_optimizer.learning_rate"`.
            steps_per_execution, jit_compile, run_eagerly: as for `compile`.
        """
        own = self.default_optimizers()
        chosen = {name: given or own.get(name, "rmsprop") for name, given in optimizers.items()}
        super().compile(
            chosen[first := next(iter(chosen))],
            steps_per_execution=steps_per_execution,
            jit_compile=jit_compile,
            run_eagerly=run_eagerly,
        )
        chosen[first] = self.optimizer
        with self.distribute_strategy.scope():
            for name, optimizer in chosen.items():
                setattr(self, name, keras.optimizers.get(optimizer))
        precision.scale_losses(self)

    def feed(self, observation: Any, action: tf.Tensor) -> None:
        """Calls every network that takes observations, so that normalisers are seen to be fed.

        An agent of which `policy` does not call all networks extends it.

        Args:
            observation: nest of tensors `[B, ...]`.
            action: tensor `[B, ...]` of actions in the environment's own units.
        """
        self.policy(observation)

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

    @property
    def observation_spec(self) -> Any:
        """Nest of `tf.TensorSpec`: one observation, without a batch dimension."""
        return building.built_spec(self).observation

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

    def optimized_variables(self) -> dict[str, list[tf.Variable]]:
        """The variables that each of `compile`'s optimizers changes, by the argument's name."""
        return {"optimizer": self.trainable_variables}
