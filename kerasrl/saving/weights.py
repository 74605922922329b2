"""The variables of an agent, as the arrays that Keras saves them as.

The HDF5 library is kept from writing to disks: when one is full, it ends the process at exit.
"""

import io
import re

import h5py
import numpy as np

from kerasrl.compatibility import legacy, make_variables
from kerasrl.errors import MismatchError, SaveError
from kerasrl.files.differences import compare, table
from kerasrl.saving import state
from kerasrl.saving.saved import Saved
from kerasrl.warning import warn

_SCALE = re.compile(r"vars/(\w*optimizer)_(loss_scale|good_steps)")
_COUNTER = re.compile(r"vars/\d+")
_EARLIER = re.compile("/(optimizer|metrics)/")  # Of a network; the agent's have no slash before.


def arrays_of(agent: Saved) -> dict[str, np.ndarray]:
    """Copies the agent's variables, those of its optimizers included.

    Returns:
        dict from the path in the file, such as `"layers/dense/vars/0"`, to the array.
    """
    return state.arrays(agent)


def packed(arrays: dict[str, np.ndarray]) -> bytes:
    """The HDF5 file of arrays."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        for name, array in arrays.items():
            file.create_dataset(name, data=array)
    return buffer.getvalue()


def matched(agent: Saved, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Picks the arrays that are the agent's variables, comparing names, shapes and dtypes.

    Those that a network was trained with before it became the agent's are of no more use.

    Raises:
        MismatchError: when they differ.
    """
    here = arrays_of(agent)
    kept = {
        name: array
        for name, array in arrays.items()
        if name in here or not (_EARLIER.search(name) or state.is_random(name))
    }
    kept |= _of_later_versions(here, kept)
    rows = compare(_described(here), _described(kept))
    if rows:
        raise MismatchError(
            f"its variables are not those of this {type(agent).__name__}:\n{table(rows)}"
        )
    return kept


def _of_later_versions(
    here: dict[str, np.ndarray], there: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """What files of earlier versions lack, and those of Keras 2.

    That is some running means, the scales of losses, and the count of gradient steps; and of Keras
    2, the states of random numbers.
    """
    lacking = {name: array for name, array in here.items() if name not in there}
    added = {
        name: array
        for name, array in lacking.items()
        if name.startswith("metrics/") or _SCALE.fullmatch(name) or state.is_random(name)
    }
    own = [name for name in here if _COUNTER.fullmatch(name)]
    counter = max(own, key=lambda name: int(name.removeprefix("vars/")), default=None)
    steps = [there[f"{name}/vars/0"] for name in _optimizers(there) if f"{name}/vars/0" in there]
    if counter in lacking:  # The optimizer's steps are the best guess.
        added[counter] = max(steps, default=here[counter])
    return added


def with_own_optimizers(agent: Saved, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Has an optimizer that either the agent or the file is without stay as it is in the agent."""
    here = arrays_of(agent)
    either = _optimizers(here) ^ _optimizers(arrays)
    saved = {name: array for name, array in arrays.items() if _owner(name) not in either}
    return saved | {name: array for name, array in here.items() if _owner(name) in either}


def without_optimizers(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Leaves out the optimizers' variables."""
    left_out = _optimizers(arrays)
    return {name: array for name, array in arrays.items() if _owner(name) not in left_out}


def with_own_mismatches(agent: Saved, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Has variables that the file has not, or of another shape, stay as they are in the agent.

    A warning lists them.
    """
    here = arrays_of(agent)
    described, others = _described(here), _described(arrays)
    rows = compare(described, others)
    if rows:
        warn(f"some variables of this {type(agent).__name__} were not loaded:\n{table(rows)}")
    same = [name for name in here if described[name] == others.get(name)]
    return here | {name: arrays[name] for name in same}


def put(agent: Saved, arrays: dict[str, np.ndarray]) -> None:
    """Sets the agent's variables to arrays that `matched` gave.

    On several replicas the running means of an epoch are left out: Keras cannot set what replicas
    add up.
    """
    replicated = agent.distribute_strategy.num_replicas_in_sync > 1
    left_out = {name for name in arrays if replicated and name.startswith("metrics/")}
    state.assign(agent, {name: arrays[name] for name in arrays.keys() - left_out})


def is_compiled(agent: Saved) -> bool:
    """Whether `compile` was called."""
    return getattr(agent, "optimizer", None) is not None


def make_slots(agent: Saved) -> None:
    """Makes the variables of a compiled agent's optimizers, which Keras does at the first step.

    Raises:
        SaveError: when Keras cannot save an optimizer's state.
    """
    if not agent.built or not is_compiled(agent):
        return
    with agent.distribute_strategy.scope():
        for name, variables in agent.optimized_variables().items():
            optimizer = getattr(agent, name)
            if legacy(optimizer):
                raise SaveError(
                    f"{name} is a keras.optimizers.legacy.{type(optimizer).__name__}, whose state "
                    "Keras does not save. Compile with one of keras.optimizers."
                )
            make_variables(optimizer, variables)


def _owner(name: str) -> str:
    scale = _SCALE.fullmatch(name)
    return scale[1] if scale else name.partition("/")[0]


def _optimizers(arrays: dict[str, np.ndarray]) -> set[str]:
    return {owner for owner in map(_owner, arrays) if owner.endswith("optimizer")}


def _described(arrays: dict[str, np.ndarray]) -> dict[str, str]:
    return {name: f"{array.dtype}{list(array.shape)}" for name, array in arrays.items()}
