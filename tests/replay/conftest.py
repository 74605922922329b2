"""Has every test of a replay run over every store that is installed here."""

import pytest

from kerasrl._stack import reverb_is_there
from kerasrl.replay import stores


def pytest_generate_tests(metafunc):
    """A test marked `reverb` is of what a server alone has; one marked `local`, of the ring."""
    marked = [name for name in ("reverb", "local") if metafunc.definition.get_closest_marker(name)]
    here = ["reverb", "local"] if reverb_is_there() else ["local"]
    chosen = [name for name in here if name in (marked or here)]
    metafunc.parametrize("store", chosen, indirect=True)


@pytest.fixture(autouse=True)
def store(request, monkeypatch):
    """The name of the store that `store="auto"` is."""
    monkeypatch.setattr(stores, "reverb_is_there", lambda: request.param == "reverb")
    return request.param
