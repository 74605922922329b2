"""What constructors were given, which is what an agent's config says."""

import contextlib
import functools
import inspect
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import keras

from kerasrl.arguments import plain_number
from kerasrl.errors import SaveError


class Given:
    """The arguments that each constructor of an agent was called with.

    It is no container, as Keras tracks those: a network that was given would be saved twice.
    """

    def __init__(self) -> None:
        self.calls: dict[Any, inspect.BoundArguments] = {}


class _Argument(NamedTuple):
    name: str
    value: Any
    passed: bool  # Or else it had its default.


def recording(constructor: Callable[..., None]) -> Callable[..., None]:
    """Has a constructor note what it is called with, for `config`."""
    signature = inspect.signature(constructor)

    @functools.wraps(constructor)
    def recorded(self: Any, *args: Any, **kwargs: Any) -> None:
        given = vars(self).setdefault("_given", Given())  # Past Keras, which is not set up yet.
        with contextlib.suppress(TypeError):  # The constructor itself raises it.
            given.calls[recorded] = signature.bind(self, *args, **kwargs)
        constructor(self, *args, **kwargs)

    recorded.__signature__ = signature  # type: ignore[attr-defined]  # Keras looks at it, too.
    return recorded


def config(agent: Any, base: type) -> dict[str, Any]:
    """The arguments that an agent was constructed with.

    Networks are serialized as they are now, those that it has made itself included, and defaults
    are written out. For a `get_config` of a subclass, which adds its own arguments, it is the
    arguments of that subclass's parent.

    Args:
        agent: an agent.
        base: type, the class whose `get_config` asks.

    Raises:
        SaveError: when an argument cannot be given by its name.
    """
    classes = type(agent).__mro__
    overriding = [place for place, each in enumerate(classes) if "get_config" in vars(each)]
    below = [place for place in overriding if place < classes.index(base)]
    arguments = _arguments(agent, classes[below[-1] + 1 :] if below else classes)
    return {argument.name: argument.value for argument in arguments}


def _arguments(agent: Any, classes: tuple[type, ...]) -> Iterator[_Argument]:
    """Those of the first constructor, and those that it hands on by `**kwargs`."""
    place = next(place for place, each in enumerate(classes) if "__init__" in vars(each))
    call = vars(agent)["_given"].calls.get(vars(classes[place])["__init__"])
    if call is None:  # Of a class that is no agent.
        yield from _arguments(agent, classes[place + 1 :])
        return
    own = list(call.signature.parameters.values())[1:]
    for parameter in own:
        given = call.arguments.get(parameter.name, parameter.default)
        if parameter.kind is parameter.VAR_KEYWORD:
            handed_on = call.arguments.get(parameter.name, {})
            names = {each.name for each in own}
            yield from _handed_on(agent, classes[place + 1 :], handed_on, names)
        elif parameter.kind in (parameter.VAR_POSITIONAL, parameter.POSITIONAL_ONLY):
            _check_unnamed(agent, parameter, parameter.name in call.arguments)
        else:
            value = _value(agent, parameter.name, given, parameter.default)
            yield _Argument(parameter.name, value, parameter.name in call.arguments)


def _handed_on(
    agent: Any, classes: tuple[type, ...], given: dict[str, Any], known: set[str]
) -> Iterator[_Argument]:
    """What of the parent's arguments this constructor leaves to its caller."""
    inherited = {each.name: each for each in _arguments(agent, classes)}
    for name, argument in inherited.items():
        if name not in known and (name in given or not argument.passed):
            yield argument._replace(passed=name in given)
    for name, value in given.items():
        if name not in inherited:  # It was taken out of the dict.
            yield _Argument(name, _value(agent, name, value, None), True)


def _check_unnamed(agent: Any, parameter: inspect.Parameter, given: bool) -> None:
    if given or parameter.kind is parameter.POSITIONAL_ONLY:
        name = type(agent).__name__
        raise SaveError(
            f"{name} cannot be saved: its constructor takes {parameter}, which has no name to be "
            f"given by when it is loaded. Name the arguments of {name}.__init__, or define "
            "get_config() and from_config(config)."
        )


def _value(agent: Any, name: str, given: Any, default: Any) -> Any:
    if name == "name":
        return agent.name
    if name in agent.resolved_arguments:
        return getattr(agent, name)
    if given is None or isinstance(given, keras.layers.Layer):
        network = agent.network_of(name)
        return keras.saving.serialize_keras_object(given if network is None else network)
    plain, kept = _plain(given, default), vars(agent).get(name)
    return kept if isinstance(kept, float) and kept == plain else plain  # 1.0 for 1.


def _plain(value: Any, default: Any) -> Any:
    """A number of any type as Python's: an int for a float, or 2.0 for an int, as its default."""
    number = plain_number(value)
    if number is None:
        return value
    if type(default) is float:
        return float(number)
    whole = type(default) is int and isinstance(number, float) and number.is_integer()
    return int(number) if whole else number
