"""What tells a run from another one, and from itself with other arguments."""

from typing import Any

from kerasrl import saving
from kerasrl.checkpoints.resumed import Resumed
from kerasrl.errors import MismatchError
from kerasrl.files.differences import compare, table
from kerasrl.run import Fitted
from kerasrl.warning import warn

_WAY_OUT = "Go on with that, or give this run a directory of its own."


def settings_of(agent: Fitted) -> dict[str, Any]:
    """What has to be the same in a run that goes on."""
    run, collector = agent.run, agent.run.collector
    return {
        "seed": run.seed,
        "batch_size": run.batch_size,
        "environments": None if run.environments is None else run.environments.num_envs,
        "collector": None if collector is None else type(collector).__name__,
        "env_steps_per_update": getattr(collector, "env_steps_per_update", None),
    }


def check_same_run(agent: Fitted, resumed: Resumed) -> None:
    """Raises `MismatchError` when a checkpoint is of another agent, or of other settings.

    Args:
        agent: the agent.
        resumed: the checkpoint.
    """
    try:
        saving.check_same(agent, resumed.agent)
    except MismatchError as error:
        raise MismatchError(f"{error}\n{_WAY_OUT}") from error
    differences = compare(settings_of(agent), resumed.state["settings"])
    if differences:
        raise MismatchError(
            f"{resumed.directory} is of a run with other settings:\n{table(differences)}\n"
            f"{_WAY_OUT}"
        )


def warn_of_rates(rates: dict[str, float], resumed: Resumed) -> None:
    """Warns of learning rates that were changed since the run began: they have no effect.

    Args:
        rates: dict from optimizers to the learning rates that the agent has now.
        resumed: the checkpoint.
    """
    begun, kept = resumed.state["rates_at_begin"], resumed.state["rates"]
    for name, rate in rates.items():
        if rate not in (begun.get(name), kept.get(name)):
            warn(
                f"the run in {resumed.directory.parent} goes on with the learning rate "
                f"{kept.get(name):g} of its {name}, not with the {rate:g} given to compile. Have a "
                "callback change it, such as keras.callbacks.LearningRateScheduler."
            )
