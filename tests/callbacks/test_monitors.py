"""Callbacks that look for the best value, and which way is better."""

import warnings

import keras
import pytest

from kerasrl.callbacks import Collect, PolicyExport

pytestmark = pytest.mark.regression(34)


class Best(keras.callbacks.Callback):
    """Keeps the best value, as callbacks of others do."""

    def __init__(self, monitor, mode="auto"):
        super().__init__()
        self.monitor = monitor
        self.mode = mode


class Stop(keras.callbacks.EarlyStopping):
    pass


def checkpoint(monitor, **arguments):
    return keras.callbacks.ModelCheckpoint("x.keras", monitor, save_best_only=True, **arguments)


CLASSES = {
    "EarlyStopping": keras.callbacks.EarlyStopping,
    "ModelCheckpoint": checkpoint,
    "ReduceLROnPlateau": keras.callbacks.ReduceLROnPlateau,
    "Stop": Stop,
    "Best": Best,
}


@pytest.fixture
def said(make_agent, tiny_env):
    """The warnings at the start of a fit without a step."""

    def run(callback):
        agent = make_agent("dqn", {"run_eagerly": True})
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            agent.fit(tiny_env(), epochs=0, callbacks=[callback, Collect(1, 32)], verbose=0)
        return [str(one.message) for one in caught if "for the best" in str(one.message)]

    return run


@pytest.mark.parametrize("name", CLASSES)
@pytest.mark.thorough
def test_the_least_return_is_not_the_best(said, name):
    for monitor in ("episode_return", "val_episode_return"):
        (warning,) = said(CLASSES[name](monitor))
        assert warning.startswith(f"{name} takes the least {monitor} for the best")
        assert f"{name}(monitor='{monitor}', mode=\"max\", ...)" in warning
    assert said(CLASSES[name]("val_episode_return", mode="max")) == []
    assert said(CLASSES[name]("loss")) == []


@pytest.mark.parametrize(
    "callback",
    [
        PolicyExport("policies", mode="min"),
        keras.callbacks.ModelCheckpoint("x.keras", "val_episode_return"),
        keras.callbacks.ReduceLROnPlateau("val_episode_return", mode="max", min_delta=1000.0),
        Best(monitor=None),
    ],
    ids=lambda callback: type(callback).__name__,
)
@pytest.mark.table
def test_what_needs_no_warning(said, callback, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert said(callback) == []
