"""Decides whether kerasrl can run here, before anything heavy is imported.

It runs on two stacks. Reverb is built against one TensorFlow release, which fixes Keras, Python and
the platform with it; elsewhere, and with any later TensorFlow, kerasrl does without. A stack that
does not fit would otherwise fail inside a shared library, with an undefined symbol. This file has
to load on any Python 3.8 or later, in order to say that it is the wrong one.
"""

from __future__ import annotations

import functools
import importlib
import os
import platform
import sys
from collections.abc import Callable, Mapping
from importlib import metadata
from typing import NamedTuple

from kerasrl import _python
from kerasrl.errors import StackError

# The names under which a package is distributed.
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


class Kind(NamedTuple):
    """A stack that kerasrl runs on.

    Args:
        what: What there is to be, as a sentence for those who have something else.
        releases: The releases of each package that fit, from the first to the last, as (major,
            minor), by its name; None for a minor that may be any.
        majors: What TensorFlow brings along and other packages like to replace: the major releases
            that fit.
        imported: The module to import in the end, and its name for people.
        install: The commands that install it.
    """

    what: str
    releases: Mapping[str, tuple[tuple[int, int], tuple[int, int | None]]]
    majors: Mapping[str, tuple[int, ...]]
    imported: tuple[str, str]
    install: str


REVERB = Kind(
    what="Linux x86-64, Python 3.10-3.11, tensorflow 2.15.x, keras 2.15.x, dm-reverb 0.14.x",
    releases={
        "tensorflow": ((2, 15), (2, 15)),
        "keras": ((2, 15), (2, 15)),
        "dm-reverb": ((0, 14), (0, 14)),
    },
    majors={"numpy": (1,), "protobuf": (3, 4)},
    imported=("reverb", "Reverb"),
    install='pip install "tensorflow==2.15.1" "keras<2.16" "dm-reverb==0.14.0"',
)
CURRENT = Kind(
    what="any system, Python 3.10-3.13, tensorflow 2.16.x to 2.21.x, keras 3.8 to 3.x",
    releases={"tensorflow": ((2, 16), (2, 21)), "keras": ((3, 8), (3, None))},
    majors={"numpy": (1, 2)},
    imported=("keras", "Keras"),
    install='pip install "tensorflow>=2.16,<2.22" "keras>=3.8,<4"',
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
    for names in (*_DISTRIBUTIONS.values(), REVERB.majors):
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


def kind_of(stack: Stack) -> Kind:
    """Which of the two it is, or is to become: `REVERB` or `CURRENT`.

    It is Reverb's where Reverb can be had, unless there is a TensorFlow of another release.
    """
    can_be_had = (stack.system, stack.machine) == _python.REVERB_PLATFORM and (
        stack.python in _python.REVERB_VERSIONS
    )
    installed = _installed(stack, "tensorflow").values()
    fits = all(_within(version, REVERB.releases["tensorflow"]) for version in installed)
    return REVERB if can_be_had and fits else CURRENT


@functools.lru_cache(maxsize=None)  # noqa: UP033  `cache` is not in Python 3.8.
def reverb_is_there() -> bool:
    """Whether kerasrl runs here on the stack that has Reverb."""
    return kind_of(installed_stack()) is REVERB


def problems(stack: Stack) -> list[str]:
    """Lists what keeps kerasrl from running on `stack`, one sentence each; empty if it fits."""
    if stack.python not in _python.VERSIONS:
        # The packages cannot be put right here, so they are not worth a word.
        return [
            f"Python {_python.RANGE} is needed; this is Python {_dotted(stack.python)}. "
            "Make a virtual environment with one of those."
        ]
    kind = kind_of(stack)
    found = [p for package in kind.releases for p in _package_problems(stack, package, kind)]
    found += [p for name in kind.majors for p in _major_problems(stack, name, kind)]
    if kind is CURRENT and stack.keras_backend not in (None, "", "tensorflow"):
        found.append(_backend_problem(str(stack.keras_backend)))
    return found


def explanation(stack: Stack, reasons: list[str]) -> str:
    """Writes the text of the error: the `reasons`, what was found, what fits, and the way out."""
    found = [_platform_name(stack), f"Python {_dotted(stack.python)}"]
    for package in _DISTRIBUTIONS:
        installed = _installed(stack, package)
        found += [f"{name} {version}" for name, version in installed.items()]
        if not installed and package in kind_of(stack).releases:
            found.append(f"no {package}")
    found += [f"{n} {stack.distributions[n]}" for n in REVERB.majors if n in stack.distributions]
    if stack.keras_backend:
        found.append(f"KERAS_BACKEND={stack.keras_backend}")
    return "\n".join(
        [
            "kerasrl cannot run on this stack.",
            *[f"  - {reason}" for reason in reasons],
            f"Found:     {', '.join(found)}",
            f"Supported: {REVERB.what}",
            f"       or: {CURRENT.what}",
            "Install it into a fresh virtual environment:",
            "  pip install kerasrl",
            "or, into an environment that you keep:",
            f"  {kind_of(stack).install}",
        ]
    )


def check_stack(
    stack: Stack | None = None,
    import_module: Callable[[str], object] = importlib.import_module,
) -> None:
    """Raises one error that explains the stack if kerasrl cannot run on it.

    Args:
        stack: What to judge; by default what is installed here.
        import_module: Imports a module by its name; called for Reverb, or for Keras where there is
            none, once all else fits.

    Raises:
        StackError: Python or a package does not fit, Reverb or Keras fails to import, or Keras runs
            on another backend than TensorFlow.
    """
    if stack is None:
        stack = installed_stack()
    reasons = problems(stack)
    if reasons:
        raise StackError(explanation(stack, reasons))
    module, name = kind_of(stack).imported
    try:
        imported = import_module(module)
    # TensorFlow and Reverb fail with ImportError, OSError, TypeError (protobuf), AttributeError
    # (NumPy) or an error class of their own. Whichever it is, the import of kerasrl has failed.
    except Exception as error:
        raise StackError(explanation(stack, [_import_problem(name, error)])) from error
    # Keras 3 may have its backend from a file, or have been imported before with another.
    backend = getattr(imported, "backend", None)
    if kind_of(stack) is CURRENT and backend is not None and backend.backend() != "tensorflow":
        raise StackError(explanation(stack, [_backend_problem(backend.backend())]))


def _package_problems(stack: Stack, package: str, kind: Kind) -> list[str]:
    needed = f"{package} {_release(*kind.releases[package])}"
    installed = _installed(stack, package)
    if not installed:
        return [f"{needed} is needed; it is not installed."]
    found = []
    for name, version in installed.items():
        if _within(version, kind.releases[package]):
            continue
        reason = f"{needed} is needed; {name} {version} is installed."
        if package == "keras" and version.split(".")[0] == "3":
            reason += " Keras 3 does not run on TensorFlow 2.15."
        if name != package:
            # Installing the right one beside it would leave two that overwrite each other.
            reason += f" Remove it with: pip uninstall {name}"
        found.append(reason)
    return found


def _major_problems(stack: Stack, package: str, kind: Kind) -> list[str]:
    version, fitting = stack.distributions.get(package), kind.majors[package]
    if version is None or version.split(".")[0] in map(str, fitting):
        return []
    bound = f"{package}<{fitting[-1] + 1}"
    return [
        f"{bound} is needed; {package} {version} is installed, by another package it seems. Mend "
        f'it with: pip install "{bound}", and install other packages under '
        "kerasrl's docs/constraints.txt."
    ]


def _backend_problem(backend: str) -> str:
    return (
        f"Keras runs on its {backend} backend, and kerasrl has none but TensorFlow's. Set "
        'KERAS_BACKEND=tensorflow, or "backend": "tensorflow" in ~/.keras/keras.json, before Keras '
        "is imported."
    )


def _import_problem(name: str, error: Exception) -> str:
    text = str(error).strip()
    if "undefined symbol" in text.lower():
        return (
            f"{name} fails to import with an undefined symbol: "
            "it and the TensorFlow that is imported were not built for each other."
        )
    first_line = text.partition("\n")[0]
    return f"{name} fails to import: {type(error).__name__}: {first_line}"


def _installed(stack: Stack, package: str) -> dict[str, str]:
    return {n: v for n, v in stack.distributions.items() if n in _DISTRIBUTIONS[package]}


def _within(version: str, releases: tuple[tuple[int, int], tuple[int, int | None]]) -> bool:
    first, last = releases
    try:
        major, minor = (int(part) for part in version.split(".")[:2])
    except ValueError:
        return False
    return first <= (major, minor) and (major, minor if last[1] is not None else 0) <= (
        last[0],
        last[1] or 0,
    )


def _release(first: tuple[int, int], last: tuple[int, int | None]) -> str:
    if last[1] is None:
        return f"{_dotted(first)} to {last[0]}.x"
    return f"{_dotted(first)}.x" + ("" if first == last else f" to {_dotted(last)}.x")


def _platform_name(stack: Stack) -> str:
    return f"{stack.system or 'an unknown system'} {stack.machine}".rstrip()


def _dotted(version: tuple) -> str:
    return ".".join(str(part) for part in version)
