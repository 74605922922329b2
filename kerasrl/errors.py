"""Every error that kerasrl raises: one base class, and the builtin that a caller would expect."""


class KerasRLError(Exception):
    """The base of every error raised by kerasrl."""

    __init__ = Exception.__init__  # AutoGraph raises such a class again, others as StagingError.


class StackError(KerasRLError, ImportError):
    """The interpreter, the platform or an installed package is not one that kerasrl runs on."""


class ArgumentError(KerasRLError, ValueError):
    """An argument has the right type and a value that cannot work."""


class ArgumentTypeError(KerasRLError, TypeError):
    """An argument is of a type that is not served."""


class SpaceError(KerasRLError, ValueError):
    """An observation or action space cannot be served."""


class EnvError(KerasRLError, ValueError):
    """An environment broke the rules of its API or of its own spaces."""


class NetworkError(KerasRLError, ValueError):
    """A network does not fit the agent or the spaces it is used with."""


class AgentStateError(KerasRLError, RuntimeError):
    """An agent was asked for something it cannot do in its present state."""


class ReplayError(KerasRLError, RuntimeError):
    """The replay cannot do what was asked of it."""


class PortInUse(ReplayError):  # noqa: N818  It names the fault.
    """The port asked for is taken."""
