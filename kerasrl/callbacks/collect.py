"""Collecting transitions while training."""

import math
from typing import Any

from kerasrl.actors import Background
from kerasrl.arguments import positive, whole
from kerasrl.callbacks.collector import Collector
from kerasrl.errors import ArgumentError
from kerasrl.experience import Experience
from kerasrl.policies import RandomPolicy

_ROUNDING = 1e-6


class Collect(Collector):
    """Acts in the environments and writes n-step transitions to the replay.

    Before training it takes `warmup_steps` environment steps: random ones, or, if the agent has
    been trained before or stores more than its actions, its own. In every epoch, after each
    `updates_per_turn` gradient steps and after the last, it takes as many environment steps as they
    call for, with a fresh copy of the policy; so that `steps_per_execution` changes nothing but
    speed, unless executions are longer than that. What it logs, and how to act otherwise, is in its
    base class `Collector`.

    With `background`, the steps that a turn of updates calls for are taken in a thread while the
    next turn is under way, with the policy as it was at its beginning, and are written, counted and
    told when it ends: the replay is a turn behind, and nothing else changes. What is collected does
    not depend on how long it takes, so that runs with a seed are repeatable and go on from a
    `Checkpoint` all the same; a signal or a checkpoint waits for the turn's end. At the end of an
    epoch all is collected that is due. It pays where a step of the environments takes long, above
    all outside of Python: in a simulator, or in other processes.

    Args:
        env_steps_per_update: float, environment steps per gradient step; 0.5 means two gradient
            steps per environment step.
        warmup_steps: int, environment steps before the first update. More are taken when these do
            not fill a block of the replay, and none when the replay holds as many already.
        updates_per_turn: int, gradient steps from one collection to the next.
        background: bool, whether to act while updates are made. `act` is called in a thread then.

    Raises:
        ArgumentError: when an argument is out of its range.
    """

    def __init__(
        self,
        env_steps_per_update: float = 1.0,
        warmup_steps: int = 1_000,
        updates_per_turn: int = 16,
        background: bool = False,
    ):
        super().__init__()
        self.env_steps_per_update = positive("env_steps_per_update", env_steps_per_update)
        self.warmup_steps = whole("warmup_steps", warmup_steps, least=0)
        self.updates_per_turn = whole("updates_per_turn", updates_per_turn)
        self.background = background
        self._turn: Background | None = None

    def experience(self) -> Experience:
        """What the agent says: n-step transitions by default."""
        return self.model.experience()

    def updates(self, env_steps: int) -> int:
        """Gradient steps that a budget of environment steps allows, after the warm-up."""
        resumed = self.model.run.resumed
        warmup = self._warm_up_due() if resumed is None else resumed.collector["warmed_up"]
        if env_steps <= warmup:
            raise ArgumentError(
                f"env_steps={env_steps} leaves nothing to train on after a warm-up of {warmup} "
                "steps. Raise it, or pass Collect(warmup_steps=...) with fewer."
            )
        # Environments are stepped together, so that up to all but one of the last may be left over.
        last = self._environments.num_envs - 1
        return math.ceil((env_steps - warmup + last) / self.env_steps_per_update)

    def update_period(self, steps_per_epoch: int) -> int:
        """The updates between two collections."""
        return self.updates_per_turn

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Resets the environments and warms up, unless a run is resumed with what it had."""
        super().on_train_begin(logs)
        self._turn = Background(self._actor, self._held) if self.background else None
        resumed = self.model.run.resumed
        if resumed is None or resumed.replay is None:
            self._warm_up()

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Begins to take the steps that earlier updates call for, if that is done meanwhile."""
        super().on_train_batch_begin(batch, logs)
        if self._turn is None or self._turn.at_work:
            return
        steps = self._missing(self._updates)
        if steps > 0:
            self._refresh()
            self._writer.env_steps = self._env_steps
            self._taken_before = self._taken
            self._turn.begin(steps)

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Takes the steps that the updates call for, if a turn is over."""
        if self._ends_turn(batch + 1):
            self._end_turn()
            if self._turn is None or batch + 1 == self.params["steps"]:
                self._take_turn(self._updates + batch + 1 - self._first_batch)
        super().on_train_batch_end(batch, logs)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Takes over what an epoch that was broken off has begun, and logs its figures."""
        self._end_turn()
        super().on_epoch_end(epoch, logs)

    def close(self) -> None:
        """Has the environments left alone; called by `fit`, whatever happens."""
        if self._turn is not None:
            self._turn.stop()

    @property
    def at_work(self) -> bool:
        """Whether the environments are being stepped while others go on."""
        return self._turn is not None and self._turn.at_work

    def get_state(self) -> dict[str, Any]:
        """That of every collector, and how long the warm-up was."""
        return {**super().get_state(), "warmed_up": self._warmed_up}

    def set_state(self, state: dict[str, Any]) -> None:
        """Goes on where `get_state` was called."""
        super().set_state(state)
        self._warmed_up = state["warmed_up"]

    def _ends_turn(self, step: int) -> bool:
        turns = step // self.updates_per_turn - self._first_batch // self.updates_per_turn
        return turns > 0 or step == self.params["steps"]

    def _missing(self, updates: int) -> float:
        """The environment steps to take for so many updates that have not been taken yet."""
        due = math.floor(updates * self.env_steps_per_update + _ROUNDING)
        # As many as fit, of steps of all environments.
        missing = due - (self._taken - self._warmed_up) - (self._environments.num_envs - 1)
        return min(missing, self._budget - self._taken)

    def _take_turn(self, updates: int) -> None:
        missing = self._missing(updates)
        if missing > 0:
            self._refresh()
            self._run(missing)
            self._count()

    def _end_turn(self) -> None:
        """Waits for the steps that are being taken, and takes them over."""
        if self._turn is not None and self._turn.at_work:
            self._turn.end()
            self._take_over()
            self._count()

    @property
    def _taken(self) -> int:
        return self._taken_before if self.at_work else super()._taken

    def _warm_up_due(self) -> int:
        replay = self.model.run.replay
        held = replay.size * self.experience().env_steps_per_item
        return max(0, self.warmup_steps - held) if replay.size < replay.capacity else 0

    def _warm_up(self) -> None:
        spec, due = self._policy.spec, self._warm_up_due()
        stores = spec.info or spec.state  # Of which random actions have nothing.
        if not (stores or int(self.model.gradient_steps.numpy())):
            self._actor.policy = RandomPolicy(self._environments.spec.action_space, self._rng)
        while self._replay.size == 0 or self._taken < due:
            if self.exhausted:
                raise ArgumentError(
                    f"env_steps={self._budget} leave nothing to train on: the warm-up has taken "
                    f"{self._taken} and the replay can be sampled after more. Raise env_steps."
                )
            self._run(min(max(due - self._taken, 1), self._budget - self._taken))
        self._actor.policy = self._hook
        self._adapt()
        self._replay.flush()
        self._warmed_up = self._taken
        self._count()
