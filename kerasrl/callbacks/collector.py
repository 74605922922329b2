"""What every callback that collects experience has in common."""

import math
import time
from typing import Any

import numpy as np
import tensorflow as tf

from kerasrl.actors import Actor, Held
from kerasrl.callbacks.hooked_policy import HookedPolicy
from kerasrl.envs import Environments, Episode, Step
from kerasrl.errors import AgentStateError, ArgumentError
from kerasrl.experience import Experience
from kerasrl.run import AgentCallback, Fitted
from kerasrl.warning import warn

_STREAM = 1  # Random numbers apart from those of whatever else has the run's seed.


class Collector(AgentCallback):
    """Has an actor act in the environments with a copy of the policy, and logs what came of it.

    The base of `Collect`, `CollectRollouts` and `CollectEpisodes`, which say what is written to the
    replay and when. It logs `episode_return` and `episode_length` (means over the episodes that
    ended in the epoch; the last known ones when none did; in an epoch's logs NaN before the first),
    `env_steps` (of the agent's life) and `env_steps_per_second`.

    Callbacks of the run that have a method `on_episode_end(episode, env_steps)` are told of every
    `kerasrl.envs.Episode` that ends, and those with `on_env_step(observation, action, step)` of
    every step: the leaf arrays `[N, ...]` that were acted on, the actions `[N, ...]` that were
    taken, and the `kerasrl.envs.Step` that followed, with the environment's own rewards.

    To act otherwise, override `act` and pass an instance of your class to `fit`. For an agent that
    learns from rollouts it has to call the base class's, as a rollout holds what that computed.
    """

    #: tuple of str, what it logs in every epoch.
    log_names = ("episode_return", "episode_length", "env_steps", "env_steps_per_second")
    #: int or None, gradient steps in an epoch where environment steps do not tell.
    steps_per_epoch: int | None = None
    #: bool, whether it stores what the policy computed beside the action, which is as it was drawn.
    stores_output = False

    def act(self, observation: list[np.ndarray]) -> np.ndarray:
        """Chooses the actions to explore with.

        Args:
            observation: list of `[N, ...]` leaf arrays in `tf.nest` order.

        Returns:
            `[N, ...]` array of actions in the environment's own units.
        """
        return self._hook.ask(observation)

    def experience(self) -> Experience:
        """What an item of the replay is."""
        raise NotImplementedError(f"{type(self).__name__} must define experience().")

    def experience_spec(self) -> dict[str, Any]:
        """What is written to the replay, as nests of `tf.TensorSpec`; known once `prepare`d."""
        environments = self._environments
        return self.experience().spec(environments.spec, self._policy.spec, environments.num_envs)

    def updates(self, env_steps: int) -> int:
        """Gradient steps that a budget of environment steps allows, at most."""
        raise NotImplementedError(f"{type(self).__name__} must define updates(env_steps).")

    def update_period(self, steps_per_epoch: int) -> int:
        """Gradient steps from one collection to the next, counted from the epoch's first."""
        raise NotImplementedError(f"{type(self).__name__} must define update_period().")

    def whole_turns(self, updates: int) -> int:
        """The least number of gradient steps that an epoch may have, of no fewer than `updates`."""
        return updates

    def whole(self, env_steps: int) -> int:
        """Environment steps that are taken for a budget of so many, at the least."""
        num_envs = self._environments.num_envs
        return math.ceil(env_steps / num_envs) * num_envs

    def prepare(self, agent: Fitted) -> None:
        """Copies the policy; `fit` calls it when the environments are there."""
        run = agent.run
        self.set_model(agent)
        self._environments: Environments = run.environments
        rng = np.random.default_rng(None if run.seed is None else [run.seed, _STREAM])
        self._rng = rng
        self._policy = agent.make_policy(self._environments.spec, self._environments.num_envs, rng)
        if run.faults.nan_policy != "warn":
            self._policy.check_weights()

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Resets the environments."""
        run = self.model.run
        if run is None:
            raise AgentStateError(
                f"{type(self).__name__} collects within fit only. Pass it to fit(callbacks=[...])."
            )
        if run.environments is None:
            raise ArgumentError(
                f"{type(self).__name__} needs environments to act in; this fit trains on a "
                "dataset. Leave it out."
            )
        self._replay = run.replay
        self._budget = math.inf if run.env_steps is None else run.env_steps
        self._counted = 0
        self._updates = 0
        self._seen: list[list[np.ndarray]] = []
        self._listeners = [c for c in run.callbacks if hasattr(c, "on_episode_end")]
        self._step_listeners = [c for c in run.callbacks if hasattr(c, "on_env_step")]
        self._told = 0
        self._held = Held(run.replay, self._tell)
        self._hook = HookedPolicy(self._policy, self.act, self.stores_output)
        self._actor = Actor(
            self._environments,
            self._hook,
            reward_scale=self.model.reward_scale,
            clips=self.stores_output,
            keeps_seen=bool(self.model.observation_normalizers),
            observers=[self._held.observe] if self._listeners or self._step_listeners else [],
        )
        self._episodes = _Mean()
        self._logs: dict[str, float] = {}
        self._epoch_begin = (time.perf_counter(), 0)
        self._in_epoch = False
        self._restart(run.seed)

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Starts the epoch's account; what came before the first update counts for the first."""
        if not self._logs or self._in_epoch:  # A run may be resumed within an epoch.
            return
        if self._environments.notice_others():  # An evaluation between the epochs, for instance.
            self._restart(seed=None)
        self._episodes = _Mean()
        self._epoch_begin = (time.perf_counter(), self._taken)

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Notes which update comes next."""
        self._first_batch = batch
        self._in_epoch = True

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Counts the updates just done, and ends the run when the budget is used up."""
        self._updates += batch - self._first_batch + 1
        if self.exhausted:
            self.model.stop_training = True
        self._log(logs)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Logs the epoch's figures, as they were before any evaluation."""
        self._in_epoch = False
        if logs is not None:  # Others may have put the agent's weights back since.
            logs.update(self._logs | {"env_steps": float(self._env_steps)})

    def get_state(self) -> dict[str, Any]:
        """What it takes to go on where it is: the account, the random state, the environments."""
        return {
            "class": type(self).__name__,
            "random": self._rng.bit_generator.state,  # Of any policy that was given it.
            "actor": self._actor.get_state(),
            "updates": self._updates,
            "in_epoch": self._in_epoch,
            "seen": self._seen,
            "episodes": vars(self._episodes),
            "logs": self._logs,
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Goes on where `get_state` was called, in new episodes if those cannot be gone on with."""
        self._rng.bit_generator.state = state["random"]
        kept = state["actor"]["environments"]
        within_episodes = kept is not None and self._same_make(kept["layers"])
        self._actor.set_state(state["actor"], within_episodes)
        # What was taken already filled a replay that came back empty, and counts for no budget.
        self._counted = self._told = self._taken
        self._updates = state["updates"]
        self._seen, self._logs = state["seen"], dict(state["logs"])
        vars(self._episodes).update(state["episodes"])
        self._epoch_begin = (time.perf_counter(), self._taken)
        self._in_epoch = state["in_epoch"]
        if not within_episodes:
            self._restart(self._seed_of_restart())

    def _same_make(self, layers: list[list[str]]) -> bool:
        same = layers == self._environments.layers
        if not same:
            warn(
                f"the environments are made of {self._environments.layers} and were of {layers} "
                "when their state was kept, so that new episodes begin."
            )
        return same

    def _seed_of_restart(self) -> int | None:
        """Other episodes than those that the run began with, the same for the same run."""
        seed = self.model.run.seed
        if seed is None:
            return None
        return int(np.random.default_rng([seed, _STREAM, self._taken]).integers(2**31))

    def _restart(self, seed: int | None) -> None:
        num_envs = self._environments.num_envs
        self._writer: Any = self.experience().writer(self._held, num_envs, self._policy)
        self._actor.restart(seed, self._writer)

    @property
    def at_work(self) -> bool:
        """Whether the environments are being stepped while others go on."""
        return False

    @property
    def exhausted(self) -> bool:
        """Whether the budget of environment steps is used up."""
        return self._taken >= self._budget

    @property
    def _taken(self) -> int:
        """Environment steps taken in this run."""
        return self._actor.env_steps

    @property
    def _env_steps(self) -> int:
        """Environment steps of the agent's life, those not yet counted in it included."""
        return int(self.model.env_steps.numpy()) + self._taken - self._counted

    def _count(self) -> None:
        """Counts what was taken in the agent's life, which other callbacks may have put back."""
        self.model.env_steps.assign_add(self._taken - self._counted)
        self._counted = self._taken

    def _refresh(self) -> None:
        """Adapts to what has been seen since the last time, and takes over the weights."""
        self._adapt()
        self._policy.update()

    def _adapt(self) -> None:
        """Adapts normalisers to what has been seen since the last time."""
        if self._seen:
            leaves = [np.concatenate(leaf) for leaf in zip(*self._seen, strict=True)]
            spec = self._environments.spec.observation
            self.model.adapt(tf.nest.pack_sequence_as(spec, leaves))
            self._seen = []

    def _run(self, steps: float | None = None, items: int | None = None) -> None:
        """Has the actor act, and brings the account up to date."""
        self._writer.env_steps = self._env_steps
        self._actor.run(steps, items)
        self._take_over()

    def _take_over(self) -> None:
        """Takes over what the actor has to tell."""
        drained = self._actor.drain()
        for episode in drained.episodes:
            self._episodes.add(episode)
        if drained.seen:
            self._seen.append(drained.seen)

    def _tell(self, observation: list[np.ndarray], action: np.ndarray, step: Step) -> None:
        """Tells the other callbacks of a step."""
        self._told += np.count_nonzero(step.valid)
        for listener in self._step_listeners:
            listener.on_env_step(observation, action, step)
        env_steps = int(self.model.env_steps.numpy()) + self._told - self._counted
        for episode in step.episodes:
            for listener in self._listeners:
                listener.on_episode_end(episode, env_steps)

    def _log(self, logs: dict[str, Any] | None) -> None:
        if self._episodes.count:
            self._logs["episode_return"] = self._episodes.episode_return
            self._logs["episode_length"] = self._episodes.length
        began, taken = self._epoch_begin
        seconds = time.perf_counter() - began
        self._logs["env_steps"] = float(self._env_steps)
        self._logs["env_steps_per_second"] = float(self._taken - taken) / max(seconds, 1e-9)
        if logs is not None:
            logs.update(self._logs)


def check_replicas(agent: Any, examples: int) -> None:
    """Raises `ArgumentError` unless every replica gets as many examples of a batch as the others.

    Gradients are averaged over the replicas, so that a smaller part would count for more.
    """
    replicas = agent.distribute_strategy.num_replicas_in_sync
    if examples % replicas:
        raise ArgumentError(
            f"what is collected for a batch, {examples} examples, must be a multiple of the number "
            f"of replicas, {replicas}. Collect more, or fewer."
        )


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
