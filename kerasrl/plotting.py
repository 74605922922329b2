"""Pictures of how a training went."""

import io
import os
from collections.abc import Iterable, Mapping, Sequence
from numbers import Real
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from kerasrl.errors import ArgumentError, ArgumentTypeError, StackError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colours, which the colour-blind can tell apart.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_METRICS = {
    "val_episode_return": "episode return (greedy, evaluated)",
    "episode_return": "episode return (while collecting)",
}

_Curve = tuple[np.ndarray, np.ndarray]  # Environment steps and returns.


def plot_history(
    histories: Any,
    path: str | os.PathLike[str] | None = None,
    *,
    baseline: float | Mapping[str, float] | None = None,
    validation_freq: int | None = None,
    title: str | None = None,
) -> "Figure":
    """Draws the return against the environment steps it took to learn.

    It draws `val_episode_return` where all the histories hold it, else `episode_return`. Several
    seeds of one agent become their mean and a band of one population standard deviation to either
    side, over the steps that all of them have; between its epochs a seed is interpolated linearly.

    Epochs whose value is NaN or None, which is that no episode ended or none was evaluated, are
    left out. Columns that are shorter than `env_steps`, as earlier versions wrote them, do not say
    which epochs they lack. Of `episode_return` these are the first ones. For `val_episode_return`
    they follow from how many values there are; where several values of `validation_freq` would give
    as many, it has to be told.

    Args:
        histories: what `fit` returned, or its `history` dict; a list of these, one for each seed
            of one agent; or a dict from labels to either, one for each agent.
        path: str or path of a file to save the picture in, PNG unless its suffix says otherwise.
        baseline: float, a return to mark with a dashed line; or a dict from what it is of to that,
            such as `{"random actions": kerasrl.evaluate(env)["episode_return"]}`.
        validation_freq: int, as it was given to `fit`; for short columns only.
        title: str; by default the agent's class, where one agent is drawn and its history is what
            `fit` returned.

    Returns:
        `matplotlib.figure.Figure`, which notebooks show as a picture. It is not known to `pyplot`,
        so it needs no closing.

    Raises:
        ArgumentError: when there is nothing to draw, or it cannot be told which epochs it is from.
        ArgumentTypeError: when `histories` is none of these.
        StackError: when matplotlib is missing.
    """
    try:
        figure = _figure()
    except ImportError as error:
        raise StackError(
            'plot_history needs matplotlib. Install it with: pip install "kerasrl[plot]".'
        ) from error
    agents = _agents(histories)
    metric = _metric([history for seeds in agents.values() for history in seeds])
    curves = {
        label: [_curve(history, metric, validation_freq) for history in seeds]
        for label, seeds in agents.items()
    }
    axes = figure.add_subplot()
    axes.set_prop_cycle(color=_COLOURS)
    for label, seeds in curves.items():
        _draw(axes, label, seeds)
    _draw_baselines(axes, baseline)
    _dress(axes, metric)
    axes.set_title(_title(agents) if title is None else title)
    if path is not None:
        figure.savefig(path, dpi=150)
    return figure


def _figure() -> "Figure":
    """A figure with a picture of itself for notebooks, which know those of pyplot only."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    class Picture(Figure):
        def _repr_png_(self) -> bytes:
            buffer = io.BytesIO()
            self.savefig(buffer, format="png")
            return buffer.getvalue()

        def __reduce__(self) -> tuple:  # Its class cannot be found by its name.
            return _figure, (), Figure.__getstate__(self)  # type: ignore[attr-defined]

    figure = Picture(figsize=(8, 5), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _title(agents: dict[str, list[Any]]) -> str:
    models = {type(h.model).__name__ for h in agents.get("", []) if getattr(h, "model", None)}
    return models.pop() if len(models) == 1 else ""


def _draw_baselines(axes: "Axes", baseline: float | Mapping[str, float] | None) -> None:
    if baseline is None:
        return
    named = baseline if isinstance(baseline, Mapping) else {"baseline": baseline}
    greys = np.linspace(0.35, 0.65, len(named))
    for (name, value), grey in zip(named.items(), greys, strict=True):
        axes.axhline(value, color=str(grey), linestyle="--", label=f"{name} ({value:.5g})")


def _agents(histories: Any) -> dict[str, list[Any]]:
    """The histories of every agent, by its label; one agent alone has none."""
    if isinstance(histories, Mapping) and not _is_history(histories):
        agents = {str(label): _seeds(value) for label, value in histories.items()}
    else:
        agents = {"": _seeds(histories)}
    if not agents or not all(agents.values()):
        raise ArgumentError(f"histories holds nothing to draw; received {histories!r}.")
    return agents


def _seeds(value: Any) -> list[Any]:
    seeds = list(value) if isinstance(value, Sequence) and not isinstance(value, str) else [value]
    for history in seeds:
        if not _is_history(history):
            raise ArgumentTypeError(
                "plot_history draws what fit returned, its history dict, a list of these, or a "
                f"dict from labels to either; received {history!r} of type "
                f"{type(history).__name__}."
            )
    return seeds


def _is_history(value: Any) -> bool:
    if isinstance(value, keras.callbacks.History):
        return True
    return isinstance(value, Mapping) and all(
        isinstance(numbers, Iterable) and all(isinstance(n, Real | None) for n in numbers)
        for numbers in value.values()
    )


def _logs(history: Any) -> Mapping[str, Sequence[float]]:
    return history.history if isinstance(history, keras.callbacks.History) else history


def _metric(histories: list[Any]) -> str:
    for metric in _METRICS:
        columns = [_numbers(_logs(history).get(metric, ())) for history in histories]
        if all(np.isfinite(column).any() for column in columns):
            return metric
    received = [sorted(_logs(history)) for history in histories]
    raise ArgumentError(
        f"every history must hold one of {list(_METRICS)}, all of them the same; received "
        f"{received}. Give fit validation_data, or train until an episode has ended."
    )


def _curve(history: Any, metric: str, validation_freq: int | None) -> _Curve:
    """The environment steps and the values of one history."""
    logs = _logs(history)
    env_steps, values = _numbers(logs.get("env_steps", ())), _numbers(logs[metric])
    if not len(env_steps):
        raise ArgumentError(
            "the returns are drawn against env_steps, which this history lacks; it holds "
            f"{sorted(logs)}. A fit on a dataset collects none."
        )
    if len(values) > len(env_steps):
        raise ArgumentError(
            f"a history has one value an epoch at most; received {len(values)} of {metric} for "
            f"{len(env_steps)} epochs."
        )
    if len(values) == len(env_steps):
        known = np.isfinite(values)
        return env_steps[known], values[known]
    if metric == "episode_return":  # It is logged in every epoch after the first episode's end.
        return env_steps[-len(values) :], values
    first = history.epoch[0] if isinstance(history, keras.callbacks.History) else 0
    numbers = first + 1 + np.arange(len(env_steps))
    return env_steps[_evaluated(numbers, len(values), validation_freq)], values


def _numbers(column: Iterable[float | None]) -> np.ndarray:
    return np.array([np.nan if number is None else number for number in column], np.float64)


def _evaluated(numbers: np.ndarray, count: int, validation_freq: int | None) -> np.ndarray:
    """Which of the epochs, numbered from 1, were evaluated, if `count` of them were."""
    freqs = range(1, numbers[-1] // count + 1) if validation_freq is None else [validation_freq]
    masks = {freq: numbers % freq == 0 for freq in freqs}
    fitting = {freq: mask for freq, mask in masks.items() if np.count_nonzero(mask) == count}
    if len({mask.tobytes() for mask in fitting.values()}) == 1:
        return next(iter(fitting.values()))
    rule = f"a history holds {count} of val_episode_return for {len(numbers)} epochs, "
    if fitting:
        raise ArgumentError(
            f"{rule}as many as each of validation_freq={list(fitting)} would give. Pass the one "
            "that was given to fit as plot_history(..., validation_freq=...)."
        )
    raise ArgumentError(
        f"{rule}which "
        + ("no validation_freq" if validation_freq is None else f"validation_freq={freqs[0]}")
        + " gives, so their epochs are unknown. Pass the validation_freq that was given to fit; "
        "or dicts whose env_steps and val_episode_return are of the same length."
    )


def _draw(axes: "Axes", label: str, seeds: list[_Curve]) -> None:
    """Draws the mean of one agent's seeds, and the band about it if there are several."""
    env_steps, returns = _on_common_steps(seeds)
    mean, std = returns.mean(axis=0), returns.std(axis=0)
    if len(seeds) > 1:
        label = ", ".join(filter(None, [label, f"mean ± std of {len(seeds)} seeds"]))
    marker = "o" if len(env_steps) == 1 else None
    (line,) = axes.plot(env_steps, mean, marker=marker, linewidth=2, label=label or None)
    if len(seeds) > 1:
        axes.fill_between(
            env_steps, mean - std, mean + std, color=line.get_color(), alpha=0.2, linewidth=0
        )


def _on_common_steps(seeds: list[_Curve]) -> tuple[np.ndarray, np.ndarray]:
    """Interpolates the seeds at every step that one of them knows and all of them span."""
    first = max(env_steps[0] for env_steps, _ in seeds)
    last = min(env_steps[-1] for env_steps, _ in seeds)
    if first > last:
        spans = [f"{env_steps[0]:g} to {env_steps[-1]:g}" for env_steps, _ in seeds]
        raise ArgumentError(
            "the seeds of one agent must have environment steps in common to be averaged; "
            f"received {spans}. Draw them apart, as a dict from labels to histories."
        )
    known = np.unique(np.concatenate([env_steps for env_steps, _ in seeds]))
    known = known[(known >= first) & (known <= last)]
    return known, np.stack([np.interp(known, *seed) for seed in seeds])


def _dress(axes: "Axes", metric: str) -> None:
    axes.set_xlabel("environment steps")
    axes.set_ylabel(_METRICS[metric])
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    if axes.get_legend_handles_labels()[1]:
        axes.legend(frameon=False)
