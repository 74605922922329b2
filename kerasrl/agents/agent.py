"""The agent: a Keras model that is fitted to an environment."""

import os
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kerasrl.arguments import fraction, positive, whole
from kerasrl.callbacks import Collect
from kerasrl.checkpoints import resume
from kerasrl.envs import FaultPolicy
from kerasrl.errors import AgentStateError
from kerasrl.experience import Experience, Transitions
from kerasrl.networks import ObservationNormalization, Target, all_layers
from kerasrl.policies import NetworkPolicy, Policy
from kerasrl.policies.conversion import Conversions
from kerasrl.replay import Uniform
from kerasrl.run import Run
from kerasrl.training import building, evaluating, precision
from kerasrl.training import fit as training
from kerasrl.training.fit_arguments import FitArguments
from kerasrl.training.keras_arguments import explaining
from kerasrl.training.normalizing import Normalizing
from kerasrl.training.persistent import Persistent


class Agent(Persistent):
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
    - `get_config()`: the constructor's arguments, which `save` needs.

    One that has several optimizers defines `compile(actor_optimizer=None, critic_optimizer=None,
    *, steps_per_execution=1, jit_compile=None, run_eagerly=None)` or the like, which hands one of
    them to `super().compile`, and sets the attributes `actor_optimizer` and `critic_optimizer`; and
    `optimized_variables()`, a dict from these names to the variables that each one changes. They
    are saved and loaded by these names.

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
        self.run: Run | None = None
        self._conversions = Conversions()
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

    def make_policy(
        self, spec: Any, num_envs: int = 1, rng: np.random.Generator | None = None
    ) -> Policy:
        """Makes what acts in environments, with a copy of the agent's present weights.

        An agent that acts by search returns a `kerasrl.policies.Policy` of its own.

        Args:
            spec: `kerasrl.envs.EnvSpec`, or whatever `fit` takes as environment; the agent is built
                for it if it is not built.
            num_envs: int, N, environments that are acted in together.
            rng: `numpy.random.Generator` to explore with; None for greedy actions.

        Returns:
            `kerasrl.policies.Policy`: `policy(observation leaves).action` are actions `[N, ...]`,
            `policy.reset(where)` begins new episodes, and `policy.update()` takes over the agent's
            newest weights.

        Raises:
            SpaceError: when the agent cannot serve the spaces.
        """
        self.build(spec)
        spec = building.built_spec(self)
        return NetworkPolicy(self, spec, whole("num_envs", num_envs), rng, self._conversions)

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
        optimizer: Any = "rmsprop",
        *,
        steps_per_execution: int = 1,
        jit_compile: bool | None = None,
        run_eagerly: bool | None = None,
    ) -> None:
        """Sets the optimizer; losses are the agent's own, and the rest is as in Keras.

        Raises:
            ArgumentTypeError: when an argument is one of Keras's that means nothing here, or the
                optimizer is none, or one of `keras.optimizers.legacy`, which cannot be saved.
        """
        super().compile(
            optimizer,
            steps_per_execution=steps_per_execution,
            jit_compile=jit_compile,
            run_eagerly=run_eagerly,
        )

    @explaining
    def fit(
        self,
        x: Any,
        *,
        epochs: int | None = None,
        steps_per_epoch: int | None = None,
        env_steps: int | None = None,
        batch_size: int | None = None,
        num_envs: int = 1,
        replay: Any = None,
        seed: int | None = None,
        validation_data: Any = None,
        validation_freq: int = 1,
        callbacks: list[keras.callbacks.Callback] | None = None,
        verbose: str | int = "auto",
        initial_epoch: int = 0,
        on_env_error: str = "raise",
        max_env_restarts: int = 10,
        env_timeout: float = 60.0,
        nan_policy: str = "raise",
        strict: bool = False,
    ) -> keras.callbacks.History:
        """Trains the agent.

        A step is Keras's step: one `train_step` on one batch. How long the run is:

        - `epochs` (1 if not given) times `steps_per_epoch` (1000 if not given); or
        - `env_steps`: it ends when so many environment steps have been collected, warm-up
          included. They are divided into `epochs` (10 if not given) epochs, fewer if there are too
          few gradient steps, or into epochs of `steps_per_epoch`. Giving all three is an error.
          Steps of several environments are taken together, and only whole rollouts are collected,
          so that there may be more; how many is printed unless `verbose` is 0. An agent
          that learns from whole episodes has epochs of 50 updates if not told otherwise, and ends
          with the episodes that reach `env_steps`, or after `epochs`, whichever comes first.

        Args:
            x: a Gymnasium id, `gymnasium.Env`, `gymnasium.vector.VectorEnv` or a callable that
                makes one; or a `tf.data.Dataset` of batches, which is trained on as it is.
            epochs: int, the index of the epoch after the last one, as in Keras.
            steps_per_epoch: int, gradient steps in an epoch.
            env_steps: int, environment steps of the run.
            batch_size: int, examples in a batch over all replicas; by default the agent's own.
            num_envs: int, environments to make of an id or a callable, stepped together.
            replay: replay to write to and read from, of the class of the agent's own: `Uniform`,
                or `Queue` for on-policy agents; it stays open. By default one that is made here and
                closed at the end.
            seed: int, makes a run on one device repeatable (bit for bit under
                `tf.config.experimental.enable_op_determinism`): it seeds Python, NumPy and
                TensorFlow, the environments, exploration and sampling.
            validation_data: environment to evaluate in, as for `x`.
            validation_freq: int, epochs from one evaluation to the next.
            callbacks: list of Keras callbacks. One that has a method `close` is closed at the end,
                whatever happens.
            verbose: 0, 1, 2 or "auto", as in Keras.
            initial_epoch: int, the epoch to start from, as in Keras.
            on_env_error: "raise", or "restart", which puts a new environment in the place of one
                that fails; it needs an id or a callable. The step that failed, and transitions
                that were not whole, are not learned from; the episode counts for no figure.
            max_env_restarts: int, restarts in all, after which the error is raised nevertheless.
            env_timeout: float, seconds that a worker process of an `AsyncVectorEnv` may take for
                a step or a reset. What runs in this process cannot be interrupted.
            nan_policy: what is done about a reward or an observation that is not finite: "raise";
                "warn" once, and use it; or "zero", to warn once and put 0 in its place.
            strict: bool, whether an observation outside of the bounds of its space is an error. If
                not, it is worth one warning, and only every 97th step is looked at.

        Returns:
            `keras.callbacks.History`.

        Raises:
            AgentStateError: when the agent is not compiled, or is being fitted already.
            ArgumentError, ArgumentTypeError: when an argument cannot work.
            EnvError: when an environment breaks its rules, or has used up its restarts.
            EnvWorkerError: when a process that environments run in dies, or does not answer.
            NonFiniteLoss: when what is learned, or an action, has become NaN or infinite.
            SpaceError: when the agent cannot serve the environment's spaces.
            Exception: whatever an environment raises, with a note that says which one and when.
        """
        asked = FitArguments(
            epochs=epochs,
            steps_per_epoch=steps_per_epoch,
            env_steps=env_steps,
            batch_size=batch_size,
            num_envs=num_envs,
            replay=replay,
            seed=seed,
            validation_data=validation_data,
            validation_freq=validation_freq,
            callbacks=callbacks,
            verbose=verbose,
            initial_epoch=initial_epoch,
            faults=FaultPolicy(on_env_error, max_env_restarts, env_timeout, nan_policy, strict),
        )
        return training.fit(self, super().fit, x, asked)

    @explaining
    def evaluate(
        self,
        x: Any,
        *,
        episodes: int = 10,
        num_envs: int = 1,
        seed: int | None = None,
        max_episode_steps: int | None = evaluating.MAX_EPISODE_STEPS,
        verbose: str | int = "auto",
        callbacks: Any = None,
        return_dict: bool = False,
    ) -> Any:
        """Runs greedy episodes.

        Args:
            x: whatever `fit` takes as environment.
            episodes: int, episodes to run, shared out evenly among the environments beforehand, so
                that short ones do not count for more.
            num_envs: int, environments to make of an id or a callable.
            seed: int, for the environments.
            max_episode_steps: int, steps after which an episode that has not ended is broken off,
                with a warning, and counts as it is so far; None for no limit.
            verbose: 0, 1, 2 or "auto", as in Keras.
            callbacks: list of Keras callbacks, or a `keras.callbacks.CallbackList`, whose methods
                for testing are called as in Keras, where a batch is an episode:
                `on_test_batch_end` has the means so far of `episode_return` and `episode_length` in
                its logs, and `on_test_end` the results.
            return_dict: bool, whether to return a dict rather than a list.

        Returns:
            What the episodes were worth: `episode_return`, the mean undiscounted return;
            `episode_return_std`, its population standard deviation; and `episode_length`, the mean
            number of steps.

        Raises:
            ArgumentError: when `episodes` or `max_episode_steps` is less than 1.
        """
        results = evaluating.evaluate(
            self, x, episodes, num_envs, seed, max_episode_steps, verbose, callbacks
        )
        return results if return_dict else list(results.values())

    def film(
        self,
        x: Any,
        path: str | os.PathLike[str],
        *,
        episodes: int = 1,
        fps: float | None = None,
        seed: int | None = None,
        max_episode_steps: int | None = evaluating.MAX_FILMED_STEPS,
    ) -> list[Path]:
        """Films greedy episodes.

        Each holds the first frame and the one after every step. A file is under its name only when
        it is whole.

        Args:
            x: a Gymnasium id, which is made with `render_mode="rgb_array"`; or a `gymnasium.Env`
                made so, or a callable that makes one.
            path: str or path of the film, such as "film.mp4"; several episodes are in
                "film-episode-1.mp4" and so on. Without a suffix, a directory for
                "episode-1.mp4" and so on. Directories are made if they are missing.
            episodes: int, films.
            fps: float, frames per second; by default the environment's `metadata["render_fps"]`, or
                30.
            seed: int, for the environment.
            max_episode_steps: int, steps after which an episode that has not ended is broken off,
                with a warning; None for no limit.

        Returns:
            List of the files' paths.

        Raises:
            ArgumentError: when a number is out of its range, or the environment does not render.
            StackError: when `imageio` or its ffmpeg is missing.
        """
        return evaluating.film(self, x, path, episodes, fps, seed, max_episode_steps)

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

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, networks serialized."""
        return {
            "discount": self.discount,
            "n_step": self.n_step,
            "reward_scale": self.reward_scale,
            "name": self.name,
        }

    def initial_counters(
        self, initial_epoch: int, steps_per_epoch: int | None
    ) -> tuple[int, int] | None:
        """The epoch and the step in it that the run begins with, if it goes on from another."""
        if self.run is None:
            return None
        return resume.begin(self.run, initial_epoch, steps_per_epoch)
