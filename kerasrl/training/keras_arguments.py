"""What Keras's methods take and an agent's do not, and what to say instead."""

import difflib
import functools
import inspect
from collections.abc import Callable
from typing import Any

import keras

from kerasrl.arguments import whole
from kerasrl.compatibility import legacy
from kerasrl.errors import ArgumentTypeError

_BATCHES = "what is learned from comes out of the environment, or is within a dataset's batches"
_WHOLE = "an evaluation is of whole episodes"
_WEIGHTS = "every transition of a batch counts alike"
_PROCESSES = "pass num_envs=..., or a gymnasium.vector.AsyncVectorEnv, to step several environments"
_LOSSES = "an agent brings the losses of its algorithm; for others define train_step in a subclass"
_METRICS = (
    "an agent logs what its log_names list; for more, list further names in a subclass and hand "
    "their values to track() in train_step, or log them in a callback"
)
_RATE = "pass an optimizer with that learning rate, such as keras.optimizers.Adam(1e-3)"
_BUDGET = "pass env_steps=..., the budget of environment steps"

_INSTEAD: dict[str, dict[str, str]] = {
    "compile": {
        "loss": _LOSSES,
        "loss_weights": "the weights of losses are arguments of the agent, such as value_cost",
        "metrics": _METRICS,
        "weighted_metrics": _METRICS,
        "learning_rate": _RATE,
        "lr": _RATE,
        "pss_evaluation_shards": "agents are not trained with parameter servers",
    },
    "fit": {
        "y": _BATCHES,
        "sample_weight": _WEIGHTS,
        "class_weight": _WEIGHTS,
        "shuffle": "a replay is sampled at random; shuffle a dataset with dataset.shuffle(...)",
        "validation_split": "pass validation_data=env, an environment to evaluate in",
        "validation_steps": f"{_WHOLE}; pass callbacks=[Evaluation(env, episodes=...)]",
        "validation_batch_size": f"{_WHOLE}; pass callbacks=[Evaluation(env, episodes=...)]",
        "max_queue_size": _PROCESSES,
        "workers": _PROCESSES,
        "use_multiprocessing": _PROCESSES,
        "total_timesteps": _BUDGET,
        "timesteps": _BUDGET,
        "nb_steps": _BUDGET,
    },
    "evaluate": {
        "y": f"{_WHOLE}, whose returns are what it gives",
        "batch_size": f"{_WHOLE}; pass num_envs=... to run several at once",
        "steps": f"{_WHOLE}; pass episodes=...",
        "sample_weight": "every episode counts alike",
        "max_queue_size": _PROCESSES,
        "workers": _PROCESSES,
        "use_multiprocessing": _PROCESSES,
    },
    "train_on_batch": {
        "y": "the batch is one dict of observation, action, reward and so on",
        "sample_weight": _WEIGHTS,
        "class_weight": _WEIGHTS,
    },
}


def explaining(method: Callable[..., Any]) -> Callable[..., Any]:
    """Has a method of Keras's name say what to do instead of arguments that only Keras's takes.

    One that is None, as by default in Keras, is left out.

    Args:
        method: `compile`, `fit`, `evaluate` or `train_on_batch` of an agent.

    Returns:
        The method, which raises `ArgumentTypeError` for the others.
    """
    signature, verb = inspect.signature(method), method.__name__
    taken = list(signature.parameters)[1:]
    open_ended = any(p.kind is p.VAR_KEYWORD for p in signature.parameters.values())
    positional = [p for p in signature.parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD]
    many = any(p.kind is p.VAR_POSITIONAL for p in signature.parameters.values())

    @functools.wraps(method)
    def explained(self: Any, *args: Any, **kwargs: Any) -> Any:
        name = f"{type(self).__name__}.{verb}"
        if len(args) >= len(positional) and not many:
            raise ArgumentTypeError(_too_many(name, verb, [p.name for p in positional[1:]], args))
        if not open_ended:
            for key in [key for key in kwargs if key not in taken]:
                if kwargs.pop(key) is not None or key not in _INSTEAD[verb]:
                    raise ArgumentTypeError(_unknown(name, verb, key, taken))
        if verb == "compile":
            _check_compile(method, (self, *args), kwargs)
        return method(self, *args, **kwargs)

    return explained


def _too_many(name: str, verb: str, taken: list[str], args: tuple[Any, ...]) -> str:
    listed = ", ".join(taken)
    rule = f"{name} takes at most {len(taken)} arguments without a name, {listed}; "
    rule += f"received {len(args)}"
    reason = _INSTEAD[verb].get("y") or _INSTEAD[verb].get("loss")
    return f"{rule}: {reason}. Name the others, as in {verb}({taken[0]}, name=value)."


def _unknown(name: str, verb: str, key: str, taken: list[str]) -> str:
    if key in _INSTEAD[verb]:
        return f"{name} takes no {key}: {_INSTEAD[verb][key]}."
    optimizers = [argument for argument in taken if "optimizer" in argument]
    if key == "optimizer" and optimizers:
        return (
            f"{name} takes no optimizer, but {', '.join(optimizers)}, as it has several networks."
        )
    near = difflib.get_close_matches(key, taken, 1)
    meant = f" Did you mean {near[0]}?" if near else ""
    return f"{name} takes no {key}; it takes {', '.join(taken)}.{meant}"


def _check_compile(method: Callable[..., Any], args: tuple[Any, ...], kwargs: Any) -> None:
    """Checks the optimizers and `steps_per_execution`, where they can be told."""
    given = inspect.signature(method).bind_partial(*args, **kwargs).arguments
    for name, value in given.items():
        if "optimizer" in name and value is not None:
            check_optimizer(name, value)
    steps = kwargs.get("steps_per_execution", "auto")
    if not (isinstance(steps, str) and steps == "auto"):
        kwargs["steps_per_execution"] = whole("steps_per_execution", steps)


def check_optimizer(name: str, value: Any) -> None:
    """Raises `ArgumentTypeError` unless `value` is an optimizer of Keras's, or stands for one.

    Args:
        name: str, the argument of `compile` that it was given for.
        value: what was given.
    """
    way_out = f"Pass {name}=keras.optimizers.Adam(1e-3) or the like."
    if isinstance(value, type):
        raise ArgumentTypeError(
            f"{name} must be an optimizer; received the class {value.__name__}. Pass "
            f"{name}={value.__name__}(...)."
        )
    if isinstance(value, str | dict):
        try:
            value = keras.optimizers.get(value)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ArgumentTypeError(
                f"{name} must be an optimizer, or the name of one; received {value!r}. {way_out}"
            ) from error
    if legacy(value):
        raise ArgumentTypeError(
            f"{name} must not be one of keras.optimizers.legacy, whose state Keras cannot save as "
            f"agents are saved; received {type(value).__name__}. Use "
            f"keras.optimizers.{type(value).__name__}."
        )
    if not isinstance(value, keras.optimizers.Optimizer):
        raise ArgumentTypeError(f"{name} must be an optimizer; received {value!r}. {way_out}")
