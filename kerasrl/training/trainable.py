"""What an agent does with environments: it is fitted, evaluated and filmed in them."""

import os
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kerasrl.arguments import whole
from kerasrl.checkpoints import resume
from kerasrl.compatibility import FIT_RESUMES
from kerasrl.envs import FaultPolicy
from kerasrl.policies import NetworkPolicy, Policy, of_networks
from kerasrl.policies.conversion import Conversions
from kerasrl.run import Run
from kerasrl.training import building, evaluating, loop
from kerasrl.training import fit as training
from kerasrl.training.fit_arguments import FitArguments
from kerasrl.training.keras_arguments import explaining
from kerasrl.training.preparable import Preparable


class Trainable(Preparable):
    """The part of `Agent` that takes environments.

    Attributes:
        run: `kerasrl.run.Run` while `fit` is at work, else None.
    """

    run: Run | None

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.run = None
        self._conversions = Conversions()

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
        keras_fit = super().fit if FIT_RESUMES else partial(loop.fit, self)
        return training.fit(self, keras_fit, x, asked)

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

    @of_networks
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

    def initial_counters(
        self, initial_epoch: int, steps_per_epoch: int | None
    ) -> tuple[int, int] | None:
        """The epoch and the step in it that the run begins with, if it goes on from another."""
        if self.run is None:
            return None
        return resume.begin(self.run, initial_epoch, steps_per_epoch)
