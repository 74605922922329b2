"""An agent is what callbacks and saving take it for; mypy sees to it that they take no more."""

import inspect

import pytest

import kerasrl
from kerasrl.run import Fitted
from kerasrl.saving import Saved

PROTOCOLS = (Saved, Fitted)


def members(protocol):
    annotated = {n: None for p in protocol.__mro__ for n in getattr(p, "__annotations__", {})}
    defined = {n: f for p in protocol.__mro__ for n, f in vars(p).items() if _is_member(n, f)}
    return annotated | defined


def _is_member(name, value):
    return not name.startswith("_") and (inspect.isfunction(value) or isinstance(value, property))


MEMBERS = {(p.__name__, name): value for p in PROTOCOLS for name, value in members(p).items()}


def test_members_are_found():
    assert ("Saved", "optimizer") in MEMBERS and ("Fitted", "adapt") in MEMBERS


@pytest.fixture(scope="module")
def agent():
    agent = kerasrl.DQN()
    agent.compile()
    agent.build("CartPole-v1")
    agent.history = None  # Keras sets it when a fit begins.
    return agent


@pytest.mark.parametrize("member", sorted(MEMBERS))
def test_an_agent_has_what_is_asked_of_it(member, agent):
    _, name = member
    assert hasattr(agent, name)
    expected = MEMBERS[member]
    if not inspect.isfunction(expected):
        return
    taken = inspect.signature(getattr(kerasrl.DQN, name)).parameters
    asked = inspect.signature(expected).parameters
    assert set(asked) <= set(taken)
    for parameter in (taken[name] for name in set(taken) - set(asked)):
        variadic = parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
        assert variadic or parameter.default is not parameter.empty
