"""Collecting experience while training."""

import math
import time
from typing import Any

import keras
import numpy as np

from kerasrl.envs import Episode
from kerasrl.errors import ArgumentError
from kerasrl.policies import PolicySnapshot, random_actions
from kerasrl.replay import TransitionWriter, Uniform

_ROUNDING = 1e-6
_STREAM = 1  # Random numbers apart from those of whatever else has the run's seed.


class Collect(keras.callbacks.Callback):
    """Acts in the environments and writes what happens to the replay.

    Before training it takes `warmup_steps` environment steps: random ones, or, if the agent has
    been trained before, its own. After every execution of `train_step`s it takes as many steps as
    these updates call for, with a fresh copy of the policy. It logs `episode_return` and
    `episode_length` (means over the episodes that ended in the epoch; the last known ones when none
    did; absent before the first), `env_steps` (of the agent's life) and `env_steps_per_second`.

    To act otherwise, override `act` and pass an instance of your class to `fit`.

    Args:
        env_steps_per_update: float, environment steps per gradient step; 0.5 means two gradient
            steps per environment step.
        warmup_steps: int, environment steps before the first update. More are taken when these do
            not fill a block of the replay, and none when the replay holds as many already.

    Raises:
        ArgumentError: when an argument is out of its range.
    """

    def __init__(self, env_steps_per_update: float = 1.0, warmup_steps: int = 1_000):
        super().__init__()
        if not (math.isfinite(env_steps_per_update) and env_steps_per_update > 0):
            raise ArgumentError(
                f"env_steps_per_update must be positive; received {env_steps_per_update}."
            )
        if warmup_steps < 0 or int(warmup_steps) != warmup_steps:
            raise ArgumentError(f"warmup_steps must be an int >= 0; received {warmup_steps}.")
        self.env_steps_per_update = env_steps_per_update
        self.warmup_steps = warmup_steps

    def act(self, observation: list[np.ndarray]) -> np.ndarray:
        """Chooses the actions to explore with.

        Args:
            observation: list of `[N, ...]` leaf arrays in `tf.nest` order.

        Returns:
            `[N, ...]` array of actions in the environment's own units.
        """
        return self.model.explore(self._policy(observation), self._rng)

    def warm_up_due(self, replay: Uniform) -> int:
        """Environment steps that are left to take before `replay` may be sampled."""
        return max(0, self.warmup_steps - replay.size) if replay.size < replay.capacity else 0

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Resets the environments and warms up."""
        run = self.model.run
        if run.environments is None:
            raise ArgumentError(
                "Collect needs environments to act in; this fit trains on a dataset. Leave it out."
            )
        self._environments, self._replay = run.environments, run.replay
        self._rng = np.random.default_rng(None if run.seed is None else [run.seed, _STREAM])
        spec, num_envs = self._environments.spec, self._environments.num_envs
        self._policy = PolicySnapshot(self.model.policy, spec.observation, num_envs)
        self._restart(run.seed)
        self._budget = math.inf if run.env_steps is None else run.env_steps
        self._taken_before, self._taken = int(self.model.env_steps.numpy()), 0
        self._updates = 0
        self._episodes = _Mean()
        self._logs: dict[str, float] = {}
        self._epoch_begin = (time.perf_counter(), 0)
        self._warm_up()

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Starts the epoch's account; the warm-up counts for the first."""
        if self._logs and self.model.run.evaluates_in_training_environment:
            self._restart(seed=None)
        if self._logs:
            self._episodes = _Mean()
            self._epoch_begin = (time.perf_counter(), self._taken)

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Notes which update comes next."""
        self._first_batch = batch

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Takes the steps that the updates just done call for."""
        self._updates += batch - self._first_batch + 1
        due = math.floor(self._updates * self.env_steps_per_update + _ROUNDING)
        before = self._taken
        if due - (before - self._warmed_up) >= self._environments.num_envs:
            self._policy.update()
            while due - (self._taken - self._warmed_up) >= self._environments.num_envs:
                if self._exhausted():
                    break
                self._step(self.act(self._observation))
            self.model.env_steps.assign_add(self._taken - before)
        if self._exhausted():
            self.model.stop_training = True
        self._log(logs)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Logs the epoch's figures, as they were before any evaluation."""
        if logs is not None:
            logs.update(self._logs)

    def _restart(self, seed: int | None) -> None:
        self._writer = TransitionWriter(
            self._replay, self._environments.num_envs, self.model.n_step, self.model.discount
        )
        self._observation = self._environments.reset(seed)

    def _warm_up(self) -> None:
        trained = int(self.model.optimizer.iterations.numpy()) > 0
        space, num_envs = self._environments.spec.action_space, self._environments.num_envs
        due = self.warm_up_due(self._replay)
        while self._replay.size == 0 or self._taken < due:
            if self._exhausted():
                raise ArgumentError(
                    f"env_steps={self._budget} leave nothing to train on: the warm-up has taken "
                    f"{self._taken} and the replay can be sampled after more. Raise env_steps."
                )
            if trained:
                action = self.act(self._observation)
            else:
                action = random_actions(space, num_envs, self._rng)
            self._step(action)
        self._replay.flush()
        self._warmed_up = self._taken
        self.model.env_steps.assign_add(self._taken)

    def _exhausted(self) -> bool:
        return self._budget - self._taken < self._environments.num_envs

    def _step(self, action: np.ndarray) -> None:
        step = self._environments.step(action)
        self._writer.append(self._observation, action, step)
        self._observation = step.observation
        self._taken += np.count_nonzero(step.valid)
        for episode in step.episodes:
            self._episodes.add(episode)

    def _log(self, logs: dict[str, Any] | None) -> None:
        if self._episodes.count:
            self._logs["episode_return"] = self._episodes.episode_return
            self._logs["episode_length"] = self._episodes.length
        began, taken = self._epoch_begin
        seconds = time.perf_counter() - began
        self._logs["env_steps"] = float(self._taken_before + self._taken)
        self._logs["env_steps_per_second"] = (self._taken - taken) / max(seconds, 1e-9)
        if logs is not None:
            logs.update(self._logs)


class _Mean:
    """Means over episodes, without keeping them."""

    def __init__(self) -> None:
        self.count = 0
        self.episode_return = 0.0
        self.length = 0.0

    def add(self, episode: Episode) -> None:
        self.count += 1
        self.episode_return += (episode.episode_return - self.episode_return) / self.count
        self.length += (episode.length - self.length) / self.count
