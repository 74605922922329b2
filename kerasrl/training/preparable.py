"""What an agent has before it learns: networks for its spaces, and optimizers."""

from typing import Any

import keras

from kerasrl.compatibility import compiled_by_xla
from kerasrl.training import building, precision
from kerasrl.training.executions import AUTO
from kerasrl.training.keras_arguments import explaining
from kerasrl.training.normalizing import Normalizing
from kerasrl.training.persistent import Persistent


class Preparable(Persistent):
    """The part of `Agent` that builds and compiles it."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "compile" in vars(cls):
            cls.compile = explaining(cls.compile)  # type: ignore[method-assign]

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
        steps_per_execution: int | str = "auto",
        jit_compile: bool | None = None,
        run_eagerly: bool | None = None,
    ) -> None:
        """Sets the optimizer; losses are the agent's own, and the rest is as in Keras.

        Args:
            optimizer: Keras optimizer, or the name of one; by default the agent's own, see
                `default_optimizer`.
            steps_per_execution: int, gradient steps between callbacks. It must divide the number of
                updates that a rollout is for, where rollouts are learned from. With "auto", `fit`
                chooses the largest, of up to 64, with which everything is as with 1.
            jit_compile: bool, whether XLA compiles the step.
            run_eagerly: bool, whether it runs without a graph, to be debugged.

        Raises:
            ArgumentTypeError: when an argument is one of Keras's that means nothing here, or the
                optimizer is none, or one of `keras.optimizers.legacy`, which cannot be saved.
        """
        optimizers = {"optimizer": optimizer}
        self.compile_optimizers(optimizers, steps_per_execution, jit_compile, run_eagerly)

    def compile_optimizers(
        self,
        optimizers: dict[str, Any],
        steps_per_execution: int | str = "auto",
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
        chosen = {name: given or self.default_optimizer() for name, given in optimizers.items()}
        self.chooses_steps_per_execution = steps_per_execution == AUTO
        super().compile(
            chosen[first := next(iter(chosen))],
            steps_per_execution=1 if self.chooses_steps_per_execution else steps_per_execution,
            jit_compile=compiled_by_xla(jit_compile),
            run_eagerly=run_eagerly,
        )
        chosen[first] = self.optimizer
        with self.distribute_strategy.scope():
            for name, optimizer in chosen.items():
                setattr(self, name, keras.optimizers.get(optimizer))
        precision.scale_losses(self)

    @property
    def observation_spec(self) -> Any:
        """Nest of `tf.TensorSpec`: one observation, without a batch dimension."""
        return building.built_spec(self).observation
