"""What a run of `Agent.fit` opens, and closes whatever happens."""

import contextlib
import itertools
import threading
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kerasrl import envs, saving
from kerasrl.arguments import whole
from kerasrl.compatibility import make_variables, set_steps_per_execution, steps_per_execution
from kerasrl.errors import AgentStateError, ArgumentError, ArgumentTypeError, KerasRLError
from kerasrl.run import Run
from kerasrl.training import building, precision
from kerasrl.training.fit_arguments import FitArguments

_starting = threading.Lock()


@contextlib.contextmanager
def running(agent: keras.Model, run: Run) -> Iterator[contextlib.ExitStack]:
    """Marks the agent as being fitted, and closes what the run has opened, whatever happens."""
    check_compiled(agent)
    precision.scale_losses(agent)
    with _starting:
        if agent.run is not None:
            raise AgentStateError("fit is already running on this agent; wait for it to end.")
        agent.run = run
    # Keras leaves it changed when a run ends within the last execution of an epoch.
    together = steps_per_execution(agent)
    try:
        with contextlib.ExitStack() as resources:
            resources.callback(set_steps_per_execution, agent, together)
            _finalize_each(agent, resources)
            yield resources
    except Exception as error:
        if isinstance(error, KerasRLError) or isinstance(error.__context__, KerasRLError):
            error.__suppress_context__ = False  # Keras hides what an error came from.
        raise
    finally:
        agent.run = None


def _finalize_each(agent: keras.Model, resources: contextlib.ExitStack) -> None:
    """Has the run end with the averages that an optimizer with `use_ema` keeps, of all of them.

    Keras ends it with one optimizer's, which it takes to be of all the model's variables.
    """
    optimizer = agent.optimizer
    if not hasattr(optimizer, "finalize_variable_values"):
        return  # It is one of Keras's legacy optimizers.

    def finalize(_: list[tf.Variable]) -> None:
        for name, variables in agent.optimized_variables().items():
            each = getattr(agent, name)
            # Keras 3 has none before the first step, and would take over zeros.
            if getattr(each, "use_ema", False) and int(each.iterations):
                make_variables(each, variables)
                type(each).finalize_variable_values(each, variables)

    optimizer.finalize_variable_values = finalize
    resources.callback(delattr, optimizer, "finalize_variable_values")


def is_compiled(agent: keras.Model) -> bool:
    """Whether `compile` was called."""
    return saving.is_compiled(agent)


def check_compiled(agent: keras.Model) -> None:
    """Raises an error unless the agent is compiled, with another optimizer for each argument."""
    if not is_compiled(agent):
        raise AgentStateError(
            f"{type(agent).__name__} must be compiled before fit. Call compile() first."
        )
    for one, other in itertools.combinations(building.optimizers(agent), 2):
        if getattr(agent, one, None) is getattr(agent, other, True):
            raise ArgumentError(
                f"{one} and {other} must be two optimizers, as each keeps the moments of its own "
                f"variables; received one for both. Pass {one}=keras.optimizers.Adam(...) and "
                f"{other}=keras.optimizers.Adam(...)."
            )


def seed_everything(agent: keras.Model, seed: int | None) -> None:
    """Seeds Python, NumPy, TensorFlow and the agent's own noise; does nothing for None."""
    if seed is not None:
        # NumPy's own generator takes 32 bits.
        short = seed if seed < 2**32 else int(np.random.SeedSequence(seed).generate_state(1)[0])
        keras.utils.set_random_seed(short)
        agent.reseed(seed)


def open_environments(
    agent: keras.Model, x: Any, asked: FitArguments, resources: contextlib.ExitStack
) -> envs.Environments:
    """Makes the environments and builds the agent for them."""
    environments = envs.make(x, asked.num_envs, asked.faults)
    resources.callback(environments.close)
    agent.build(environments.spec)
    return environments


def choose_replay(agent: keras.Model, given: Any, resources: contextlib.ExitStack) -> Any:
    """The replay that was given; or the agent's own, which is closed with the run.

    Raises:
        ArgumentTypeError: when it is not of the kind that the agent learns from.
    """
    own = agent.default_replay()
    if given is None:
        resources.callback(own.close)
        return own
    if getattr(given, "consumed", None) != own.consumed:
        kind = "gives each item once" if own.consumed else "samples its items again and again"
        raise ArgumentTypeError(
            f"{type(agent).__name__} learns from a kerasrl.replay.{type(own).__name__}; received "
            f"replay={given!r}. Pass a replay that {kind}, whose consumed is {own.consumed}, or "
            "leave it out to have one made."
        )
    if getattr(given, "fixed", False):
        raise ArgumentTypeError(
            f"what is collected cannot go into a {type(given).__name__} replay; received "
            f"replay={given!r}. Call fit(dataset) to train on a dataset alone."
        )
    return given


def open_replay(agent: keras.Model, run: Run, resources: contextlib.ExitStack) -> None:
    """Opens the run's replay for what its collector writes, or as a checkpoint has it."""
    resources.callback(run.replay.finish)
    run.collector.prepare(agent)
    checkpoint = {} if run.resumed is None else {"checkpoint": run.resumed.replay}
    run.replay.open(run.collector.experience_spec(), run.seed, **checkpoint)


def batches(agent: keras.Model, run: Run, resources: contextlib.ExitStack) -> tf.data.Dataset:
    """The batches out of the open replay, which is not waited for until the callbacks begin."""
    dataset = agent.batches(run.replay, run.batch_size)
    run.replay.expect(begun=False)
    resources.callback(run.replay.expect, begun=True)
    return dataset


def check_batch_size(agent: keras.Model, batch_size: int | None) -> int | None:
    """The batch size that was asked for, or the agent's own."""
    batch_size = agent.default_batch_size if batch_size is None else batch_size
    if batch_size is None:
        return None
    batch_size = whole("batch_size", batch_size)
    replicas = agent.distribute_strategy.num_replicas_in_sync
    if batch_size % replicas:
        raise ArgumentError(
            f"batch_size counts all replicas and must be a multiple of their number, {replicas}; "
            f"received {batch_size}."
        )
    return batch_size
