"""Says in one sentence what to do where kerasrl cannot be installed with this Python.

`python3 kerasrl/_python.py` comes first in the README's commands, as pip would answer with the log
of its resolver. It has to load on any Python 3, and imports nothing that is not in all of them.
"""

import platform
import sys

VERSIONS = ((3, 10), (3, 11), (3, 12), (3, 13))
RANGE = "3.10 to 3.13"

# Where Reverb can be installed; everywhere else kerasrl does without.
REVERB_VERSIONS = ((3, 10), (3, 11))
REVERB_PLATFORM = ("Linux", "x86_64")


def problem(python: tuple, system: str, machine: str) -> str:
    """What keeps kerasrl from being installed, and the way out; empty if nothing does.

    Args:
        python: (major, minor) of the interpreter.
        system: the operating system, as `platform.system` names it.
        machine: the architecture, as `platform.machine` names it.
    """
    if tuple(python) in VERSIONS:
        return ""
    here = f"Python {python[0]}.{python[1]} on {system or 'an unknown system'} {machine}"
    return (
        f"kerasrl needs Python {RANGE}, as TensorFlow has no wheels for others; this is {here}. "
        "Install one, for instance with uv: `uv python install 3.13`, and write "
        '"$(uv python find 3.13)" in the place of python3.'
    )


if __name__ == "__main__":
    sys.exit(problem(sys.version_info[:2], platform.system(), platform.machine()) or 0)
