"""Says in one sentence what to do where kerasrl cannot be installed with this Python.

`python3 kerasrl/_python.py` comes first in the README's commands, as pip would answer with the log
of its resolver. It has to load on any Python 3, and imports nothing that is not in all of them.
"""

import platform
import sys

VERSIONS = ((3, 10), (3, 11))
PLATFORM = ("Linux", "x86_64")


def problem(python: tuple, system: str, machine: str) -> str:
    """What keeps kerasrl from being installed, and the way out; empty if nothing does.

    Args:
        python: (major, minor) of the interpreter.
        system: the operating system, as `platform.system` names it.
        machine: the architecture, as `platform.machine` names it.
    """
    here = f"Python {python[0]}.{python[1]} on {system or 'an unknown system'} {machine}"
    if (system, machine) != PLATFORM:
        return (
            f"kerasrl needs Linux x86-64, as Reverb has no wheels for others; this is {here}. "
            "Use a Linux x86-64 machine or container."
        )
    if tuple(python) not in VERSIONS:
        return (
            "kerasrl needs Python 3.10 or 3.11, as Reverb and TensorFlow 2.15 have no wheels for "
            f"others; this is {here}. Install one, for instance with uv: `uv python install 3.11`, "
            'and write "$(uv python find 3.11)" in the place of python3.'
        )
    return ""


if __name__ == "__main__":
    sys.exit(problem(sys.version_info[:2], platform.system(), platform.machine()) or 0)
