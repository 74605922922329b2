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


class ReplayUnavailable(ReplayError, TimeoutError):  # noqa: N818
    """The replay's server does not answer."""


class ReplayRestarted(ReplayError):  # noqa: N818
    """Another server answers in the place of the replay's own, so that what it held is gone."""


class ReplayStarved(ReplayError, TimeoutError):  # noqa: N818
    """Nothing could be sampled for too long, because nothing was inserted."""


class EnvWorkerError(EnvError, RuntimeError):
    """A process that environments run in has died, or does not answer."""


class NonFiniteLoss(KerasRLError, ArithmeticError):  # noqa: N818
    """What is learned, or what a policy chooses, has become NaN or infinite."""


class SaveError(KerasRLError, OSError):
    """A file could not be written; the one before it is as it was."""


class LoadError(KerasRLError, ValueError):
    """A file cannot be loaded."""


class UnsafeFileError(LoadError):
    """A file holds what could run code, read other files or exhaust memory."""


class MismatchError(LoadError):
    """A file was saved from something else than what it is to be loaded into."""
