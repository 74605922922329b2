import io
import pickle
import runpy
import sys

import imageio.v2 as imageio
import keras
import numpy as np
import pytest

from kerasrl import plot_history, plotting
from kerasrl.callbacks import Collect
from kerasrl.errors import ArgumentError, ArgumentTypeError, StackError


def keras_history(epochs, **values):
    history = keras.callbacks.History()
    history.epoch, history.history = list(epochs), values
    return history


def lines(figure):
    """The label, the steps and the values of every line."""
    (axes,) = figure.axes
    return [(line.get_label(), *map(list, line.get_data())) for line in axes.lines]


def curve(figure):
    ((_, env_steps, values),) = lines(figure)
    return env_steps, values


def band(figure):
    """The steps, and the lower and upper edge of the band."""
    (collection,) = figure.axes[0].collections
    (path,) = collection.get_paths()
    edges = {}
    for x, y in path.vertices:
        edges.setdefault(x, []).append(y)
    return [(x, min(ys), max(ys)) for x, ys in sorted(edges.items())]


ONE = {"loss": [0.1, 0.2], "env_steps": [100.0, 200.0], "episode_return": [1.0, 3.0]}


@pytest.mark.parametrize("history", [ONE, [ONE], keras_history([0, 1], **ONE)])
def test_one_history(history):
    figure = plot_history(history)
    assert curve(figure) == ([100, 200], [1, 3])
    (axes,) = figure.axes
    assert axes.get_xlabel() == "environment steps"
    assert axes.get_ylabel() == "episode return (while collecting)"
    assert axes.get_legend() is None


def test_the_evaluations_are_preferred():
    figure = plot_history({**ONE, "val_episode_return": [5.0, 6.0]})
    assert curve(figure) == ([100, 200], [5, 6])
    assert figure.axes[0].get_ylabel() == "episode return (greedy, evaluated)"


def test_one_figure_shows_one_kind_of_return():
    evaluated = {**ONE, "val_episode_return": [5.0, 6.0]}
    figure = plot_history({"a": evaluated, "b": ONE})
    assert [values for _, _, values in lines(figure)] == [[1, 3], [1, 3]]


def test_the_mean_of_the_seeds_and_its_band():
    other = {"env_steps": [100.0, 200.0], "episode_return": [5.0, 3.0]}
    figure = plot_history([ONE, other])
    ((label, env_steps, values),) = lines(figure)
    assert label == "mean ± std of 2 seeds"
    assert (env_steps, values) == ([100, 200], [3, 3])
    assert band(figure) == [(100, 1, 5), (200, 3, 3)]


def test_seeds_that_know_other_steps_are_interpolated_where_they_overlap():
    first = {"env_steps": [0, 100, 200], "episode_return": [0, 10, 20]}
    second = {"env_steps": [50, 150, 250, 350], "episode_return": [15, 25, 35, 45]}
    figure = plot_history([first, second])
    # From 50 to 200 the second is always 10 above the first.
    assert curve(figure) == ([50, 100, 150, 200], [10, 15, 20, 25])
    assert band(figure) == [(50, 5, 15), (100, 10, 20), (150, 15, 25), (200, 20, 30)]


def test_seeds_with_nothing_in_common_are_refused():
    later = {"env_steps": [300, 400], "episode_return": [1, 2]}
    with pytest.raises(ArgumentError, match="received .'100 to 200', '300 to 400'"):
        plot_history([ONE, later])


def test_several_agents():
    agents = {"DQN": [ONE, ONE], "SAC": keras_history([0, 1], **ONE), 3: ONE}
    figure = plot_history(agents, baseline=21.25)
    labels = ["DQN, mean ± std of 2 seeds", "SAC", "3", "baseline (21.25)"]
    assert [label for label, _, _ in lines(figure)] == labels
    legend = figure.axes[0].get_legend()
    assert [text.get_text() for text in legend.get_texts()] == labels
    colours = [line.get_color() for line in figure.axes[0].lines]
    assert len(set(colours)) == 4
    assert lines(figure)[-1][2] == [21.25, 21.25]
    assert figure.axes[0].lines[-1].get_linestyle() == "--"


def test_the_first_epochs_may_lack_the_return():
    history = {"env_steps": [100, 200, 300], "episode_return": [7, 8]}
    assert curve(plot_history(history)) == ([200, 300], [7, 8])


@pytest.mark.parametrize(
    ("epochs", "count", "expected"),
    [
        (4, 4, [1, 2, 3, 4]),
        (4, 2, [2, 4]),
        (5, 2, [2, 4]),
        (7, 3, [2, 4, 6]),
        (10, 3, [3, 6, 9]),
        (1, 1, [1]),
    ],
)
def test_the_epochs_of_evaluations_follow_from_their_number(epochs, count, expected):
    history = {
        "env_steps": np.arange(1, epochs + 1),
        "val_episode_return": np.arange(count) * 1.5,
    }
    assert curve(plot_history(history)) == (expected, history["val_episode_return"].tolist())


def test_where_they_do_not_follow_they_have_to_be_told():
    history = {"env_steps": list(range(1, 11)), "val_episode_return": [1.0, 2.0]}
    with pytest.raises(ArgumentError, match=r"2 of val_.* for 10 .*validation_freq=\[4, 5\]"):
        plot_history(history)
    assert curve(plot_history(history, validation_freq=4)) == ([4, 8], [1, 2])
    assert curve(plot_history(history, validation_freq=5)) == ([5, 10], [1, 2])
    with pytest.raises(ArgumentError, match="2 of val.* for 10 .*which validation_freq=3 gives"):
        plot_history(history, validation_freq=3)


def test_evaluations_that_no_frequency_explains_are_refused():
    history = {"env_steps": list(range(1, 11)), "val_episode_return": [1.0] * 7}
    with pytest.raises(ArgumentError, match="7 of val.* for 10 epochs, which no validation_freq"):
        plot_history(history)


def test_a_history_knows_its_initial_epoch():
    # Of the epochs 2, 3, 4 and 5, numbered from 1, every second is 2 and 4.
    values = {"env_steps": [30, 40, 50, 60], "val_episode_return": [1, 2]}
    figure = plot_history(keras_history([1, 2, 3, 4], **values))
    assert curve(figure) == ([30, 50], [1, 2])


@pytest.mark.parametrize(
    ("history", "rule"),
    [
        ({"loss": [1.0]}, "every history must hold one of"),
        ({"env_steps": [1.0], "episode_return": []}, "every history must hold one of"),
        ({"episode_return": [1.0]}, "drawn against env_steps, which this history lacks"),
        ({"env_steps": [1], "episode_return": [1, 2]}, "one value an epoch at most; received 2"),
        ({}, "every history must hold one of"),
        ([], "holds nothing to draw"),
        ({"DQN": [ONE], "SAC": []}, "holds nothing to draw"),
    ],
)
def test_histories_that_cannot_be_drawn(history, rule):
    with pytest.raises(ArgumentError, match=rule):
        plot_history(history)


@pytest.mark.parametrize("histories", [3, None, "log.csv", [3], {"DQN": [ONE, 3]}, {"DQN": "x"}])
def test_what_is_no_history_is_refused(histories):
    with pytest.raises(ArgumentTypeError, match="plot_history draws what fit returned"):
        plot_history(histories)


def test_the_picture(tmp_path):
    path = tmp_path / "curve.png"
    plot_history({"DQN": [ONE, {**ONE, "episode_return": [2.0, 9.0]}]}, path, baseline=0.5)
    picture = imageio.imread(path)[..., :3].astype(int)
    assert picture.shape == (750, 1200, 3)
    blue, band = np.array([0x00, 0x72, 0xB2]), np.array([0x00, 0x72, 0xB2]) * 0.2 + 255 * 0.8
    assert (abs(picture - blue).max(axis=2) < 3).sum() > 1_000
    assert (abs(picture - band).max(axis=2) < 3).sum() > 50_000


def test_pyplot_is_left_alone(monkeypatch):
    monkeypatch.delitem(sys.modules, "matplotlib.pyplot", raising=False)
    plot_history(ONE)
    assert "matplotlib.pyplot" not in sys.modules


def test_without_matplotlib_it_says_what_to_install(monkeypatch):
    for name in [name for name in sys.modules if name.startswith("matplotlib")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    module = runpy.run_path(plotting.__file__)  # The module itself must do without it.
    with pytest.raises(StackError, match=r'pip install "kerasrl\[plot\]"'):
        module["plot_history"](ONE)


def test_the_history_of_a_fit(make_agent, tiny_env):
    history = make_agent("dqn", {"run_eagerly": True}).fit(
        tiny_env(),
        epochs=4,
        steps_per_epoch=2,
        batch_size=4,
        validation_data=tiny_env,
        validation_freq=2,
        callbacks=[Collect(warmup_steps=64)],
        verbose=0,
    )
    assert curve(plot_history(history)) == ([68, 72], [5, 5])


@pytest.mark.regression(39)
def test_a_notebook_shows_one_picture():
    figure = plot_history(ONE)
    picture = imageio.imread(io.BytesIO(figure._repr_png_()))
    assert picture.shape == (500, 800, 4)
    assert (picture[..., :3] != 255).any()
    again = pickle.loads(pickle.dumps(figure))
    assert again._repr_png_() == figure._repr_png_()


@pytest.mark.regression(39)
def test_it_says_what_is_drawn(make_agent):
    figure = plot_history(ONE, baseline={"random actions": 21.25, "people": 99}, title="A title")
    assert figure.axes[0].get_title() == "A title"
    assert [label for label, _, _ in lines(figure)][1:] == [
        "random actions (21.25)",
        "people (99)",
    ]
    history = keras_history([0, 1], **ONE)
    history.set_model(make_agent("dqn"))
    assert plot_history(history).axes[0].get_title() == "DQN"
    assert plot_history({"a": history}, title=None).axes[0].get_title() == ""
