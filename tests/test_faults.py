"""Every fault on the list has a test, and what the whole source must not have is not there."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FAULTS = 70
NOT_YET = {
    39,  # Priorities: there is no prioritised replay.
    41,  # A remote address: there is no replay in another process.
}


def marked(name):
    """The numbers that tests are marked with by `pytest.mark.<name>`."""
    numbers = set()
    for path in ROOT.glob("tests/**/test_*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == f"pytest.mark.{name}":
                numbers |= {argument.value for argument in node.args}
    return numbers


def test_every_fault_has_a_test():
    assert set(range(1, FAULTS + 1)) - marked("fault") == NOT_YET


SOURCES = {path.relative_to(ROOT).as_posix(): path for path in ROOT.glob("kerasrl/**/*.py")}


def names(path):
    """Every dotted name that a file imports or uses."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Attribute):
            yield ast.unparse(node)


@pytest.mark.fault(67)
def test_nothing_reads_pickles():
    readers = ("pickle.load", "pickle.Unpickler", "cloudpickle", "dill", "marshal", "shelve")
    found = [(path, name) for path, file in SOURCES.items() for name in names(file)]
    assert [(path, name) for path, name in found if name.startswith(readers)] == []
    assert all("allow_pickle=True" not in file.read_text() for file in SOURCES.values())


@pytest.mark.fault(69)
def test_nothing_serves_but_reverb():
    servers = (
        "http.server",
        "socketserver",
        "wsgiref",
        "xmlrpc",
        "asyncio",
        "multiprocessing.mana",
    )
    found = [(path, name) for path, file in SOURCES.items() for name in names(file)]
    assert [(path, name) for path, name in found if name.startswith(servers)] == []
    listening = {path for path, name in found if name.endswith((".listen", "reverb.Server"))}
    assert listening == {"kerasrl/replay/server/loopback.py"}  # It binds to loopback.
