"""What is done when an environment fails."""

import dataclasses

from kerasrl.arguments import positive, whole
from kerasrl.errors import ArgumentError


@dataclasses.dataclass(frozen=True)
class FaultPolicy:
    """What is done when an environment fails; the arguments of `Agent.fit` of the same names.

    Args:
        on_env_error: "raise" passes an environment's error on; "restart" puts a new environment in
            the place of the failed one, whose episode is broken off.
        max_env_restarts: int, restarts in all, over all the environments.
        env_timeout: float, seconds that a worker process of an `AsyncVectorEnv` may take for a
            step or a reset. What runs in this process cannot be interrupted.
        nan_policy: what is done about a reward or an observation that is not finite as float32:
            "raise"; "warn" once, and use it; or "zero", to warn once and put 0 in its place.
        strict: bool, whether an observation outside of the bounds of its space is an error. If not,
            it is worth one warning, and only every 97th step is looked at.

    Raises:
        ArgumentError: when an argument is none of these.
    """

    on_env_error: str = "raise"
    max_env_restarts: int = 10
    env_timeout: float = 60.0
    nan_policy: str = "raise"
    strict: bool = False

    def __post_init__(self):
        _check_choice("on_env_error", self.on_env_error, ("raise", "restart"))
        _check_choice("nan_policy", self.nan_policy, ("raise", "warn", "zero"))
        if not isinstance(self.strict, bool):
            raise ArgumentError(f"strict must be True or False; received {self.strict!r}.")
        restarts = whole("max_env_restarts", self.max_env_restarts)
        timeout = positive("env_timeout", self.env_timeout, "a positive number of seconds")
        object.__setattr__(self, "max_env_restarts", restarts)
        object.__setattr__(self, "env_timeout", timeout)


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        listed = ", ".join(f'"{choice}"' for choice in choices)
        raise ArgumentError(f"{name} must be one of {listed}; received {value!r}.")
