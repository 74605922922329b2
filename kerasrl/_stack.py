"""Decides whether kerasrl can run here, before anything heavy is imported.

Reverb is built against one TensorFlow release, which fixes Keras, Python and the platform with it.
A stack that does not fit would otherwise fail inside a shared library, with an undefined symbol.
This file has to load on any Python 3.8 or later, in order to say that it is the wrong one.
"""

from __future__ import annotations

import importlib
import os
import platform
import sys
from collections.abc import Callable, Mapping
from importlib import metadata
from typing import NamedTuple

from kerasrl import _python
from kerasrl.errors import StackError

# The release of each package that fits, and the names under which that package is distributed.
_RELEASES = {"tensorflow": "2.15", "keras": "2.15", "dm-reverb": "0.14"}
_DISTRIBUTIONS = {
    "tensorflow": (
        "tensorflow",
        "tensorflow-cpu",
        "tensorflow-gpu",
        "tensorflow-intel",
        "intel-tensorflow",
        "tensorflow-macos",
        "tensorflow-rocm",
        "tf-nightly",
        "tf-nightly-cpu",
    ),
    "keras": ("keras", "keras-nightly"),
    "dm-reverb": ("dm-reverb", "dm-reverb-nightly"),
}

# What TensorFlow brings along and other packages like to replace: the major releases that fit.
_MAJORS = {"numpy": ("1",), "protobuf": ("3", "4")}

_SUPPORTED = "Linux x86-64, Python 3.10-3.11, tensorflow 2.15.x, keras 2.15.x, dm-reverb 0.14.x"
_INSTALL = (
    "  pip install kerasrl\n"
    "or, into an environment that you keep:\n"
    '  pip install "tensorflow==2.15.1" "keras<2.16" "dm-reverb==0.14.0"'
)


class Stack(NamedTuple):
    """What kerasrl would run on, as far as it can be known without importing it.

    Args:
        system: The name of the operating system, as `platform.system` gives it.
        machine: The name of the machine's architecture, as `platform.machine` gives it.
        python: The version of Python, as (major, minor).
        distributions: The version of each installed distribution that matters, by its name.
        keras_backend: The value of the environment variable `KERAS_BACKEND`, if it is set.
    """

    system: str
    machine: str
    python: tuple[int, int]
    distributions: Mapping[str, str]
    keras_backend: str | None = None


def installed_stack() -> Stack:
    """Reads the stack from the interpreter and the metadata of the installed distributions."""
    distributions = {}
    for names in (*_DISTRIBUTIONS.values(), _MAJORS):
        for name in names:
            try:
                # The version is None where an interrupted install left its metadata unfinished.
                distributions[name] = metadata.version(name) or "of unknown version"
            except metadata.PackageNotFoundError:
                continue
    return Stack(
        system=platform.system(),
        machine=platform.machine(),
        python=sys.version_info[:2],
        distributions=distributions,
        keras_backend=os.environ.get("KERAS_BACKEND"),
    )


def reverb_is_there() -> bool:
    """Whether kerasrl runs here on the stack that has Reverb."""
    return not problems(installed_stack())


def problems(stack: Stack) -> list[str]:
    """Lists what keeps kerasrl from running on `stack`, one sentence each; empty if it fits."""
    found = []
    if (stack.system, stack.machine) != _python.PLATFORM:
        found.append(
            "Reverb is built for Linux x86-64 only; "
            f"this machine is {_platform_name(stack)}. Use a Linux x86-64 machine or container."
        )
    if stack.python not in _python.VERSIONS:
        found.append(
            f"Python 3.10 or 3.11 is needed; this is Python {_dotted(stack.python)}. "
            "Make a virtual environment with one of those."
        )
    if found:
        return found  # The packages cannot be put right here, so they are not worth a word.
    for package in _RELEASES:
        found += _package_problems(stack, package)
    return found + [problem for name in _MAJORS for problem in _major_problems(stack, name)]


def explanation(stack: Stack, reasons: list[str]) -> str:
    """Writes the text of the error: the `reasons`, what was found, what fits, and the way out."""
    found = [_platform_name(stack), f"Python {_dotted(stack.python)}"]
    for package, names in _DISTRIBUTIONS.items():
        installed = [f"{n} {stack.distributions[n]}" for n in names if n in stack.distributions]
        found += installed or [f"no {package}"]
    found += [f"{n} {stack.distributions[n]}" for n in _MAJORS if n in stack.distributions]
    if stack.keras_backend:
        found.append(f"KERAS_BACKEND={stack.keras_backend}")
    return "\n".join(
        [
            "kerasrl cannot run on this stack.",
            *[f"  - {reason}" for reason in reasons],
            f"Found:     {', '.join(found)}",
            f"Supported: {_SUPPORTED}",
            "Install it into a fresh virtual environment:",
            _INSTALL,
        ]
    )


def check_stack(
    stack: Stack | None = None,
    import_module: Callable[[str], object] = importlib.import_module,
) -> None:
    """Raises one error that explains the stack if kerasrl cannot run on it.

    Args:
        stack: What to judge; by default what is installed here.
        import_module: Imports a module by its name; called for Reverb once all else fits.

    Raises:
        StackError: The platform, Python or a package does not fit, or Reverb fails to import.
    """
    if stack is None:
        stack = installed_stack()
    reasons = problems(stack)
    if reasons:
        raise StackError(explanation(stack, reasons))
    try:
        import_module("reverb")
    # TensorFlow and Reverb fail with ImportError, OSError, TypeError (protobuf), AttributeError
    # (NumPy) or an error class of their own. Whichever it is, the import of kerasrl has failed.
    except Exception as error:
        raise StackError(explanation(stack, [_import_problem(error)])) from error


def _package_problems(stack: Stack, package: str) -> list[str]:
    release = _RELEASES[package]
    installed = {n: v for n, v in stack.distributions.items() if n in _DISTRIBUTIONS[package]}
    if not installed:
        return [f"{package} {release}.x is needed; it is not installed."]
    found = []
    for name, version in installed.items():
        if version.split(".")[:2] == release.split("."):
            continue
        reason = f"{package} {release}.x is needed; {name} {version} is installed."
        if package == "keras" and version.split(".")[0] == "3":
            reason += " Keras 3 does not run on TensorFlow 2.15"
            if stack.keras_backend not in (None, "", "tensorflow"):
                reason += f", and kerasrl has no {stack.keras_backend} backend"
            reason += "."
        if name != package:
            # Installing the right one beside it would leave two that overwrite each other.
            reason += f" Remove it with: pip uninstall {name}"
        found.append(reason)
    return found


def _major_problems(stack: Stack, package: str) -> list[str]:
    version, fitting = stack.distributions.get(package), _MAJORS[package]
    if version is None or version.split(".")[0] in fitting:
        return []
    bound = f"{package}<{int(fitting[-1]) + 1}"
    return [
        f"{bound} is needed; {package} {version} is installed, by another package it seems. Mend "
        f'it with: pip install "{bound}", and install other packages under '
        "kerasrl's docs/constraints.txt."
    ]


def _import_problem(error: Exception) -> str:
    text = str(error).strip()
    if "undefined symbol" in text.lower():
        return (
            "Reverb fails to import with an undefined symbol: "
            "it and the TensorFlow that is imported were not built for each other."
        )
    first_line = text.partition("\n")[0]
    return f"Reverb fails to import: {type(error).__name__}: {first_line}"


def _platform_name(stack: Stack) -> str:
    return f"{stack.system or 'an unknown system'} {stack.machine}".rstrip()


def _dotted(version: tuple[int, int]) -> str:
    return ".".join(str(part) for part in version)
