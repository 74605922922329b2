import json
import os
import warnings

import keras
import numpy as np
import pytest

import kerasrl
from kerasrl.callbacks import Collect, Evaluation, PolicyExport
from kerasrl.errors import ArgumentError, SaveError


class Told(keras.callbacks.Callback):
    """Logs values that are known beforehand, one for each epoch."""

    def __init__(self, values, name="score"):
        super().__init__()
        self.values, self.name = values, name

    def on_epoch_end(self, epoch, logs=None):
        if self.values[epoch] is not None:
            logs[self.name] = self.values[epoch]


@pytest.fixture
def fit(make_agent, tiny_env, batches):
    """Fits an agent for so many epochs of one step, on a dataset, and returns it."""

    def run(*callbacks, epochs=1, **arguments):
        agent = make_agent("dqn", {"run_eagerly": True})
        dataset = batches(agent, count=epochs)
        agent.fit(
            dataset, epochs=epochs, steps_per_epoch=1, callbacks=callbacks, verbose=0, **arguments
        )
        return agent

    return run


def info(directory):
    return json.loads((directory / "policy.json").read_text())


def gradient_steps(directory):
    """After how many steps each policy was exported: epochs, as each has one."""
    return {path.name: info(path)["gradient_steps"] for path in sorted(directory.iterdir())}


@pytest.mark.parametrize(
    ("mode", "values", "best"),
    [
        ("max", [1.0, 3.0, 2.0, 3.0], 2),
        ("max", [-5.0, -6.0, -4.5, -5.0], 3),
        ("min", [1.0, 0.5, 0.75, 0.5], 2),
        ("max", [float("nan"), 1.0, float("nan"), 0.5], 2),
        ("max", [None, 1.0, None, np.float32(2.0)], 4),
    ],
)
@pytest.mark.table
def test_the_best_policy_is_kept(fit, tmp_path, mode, values, best):
    export = PolicyExport(tmp_path, monitor="score", mode=mode)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fit(Told(values), export, epochs=4)
    assert gradient_steps(tmp_path) == {"best": best}
    assert export.best == values[best - 1]


def test_every_so_many_epochs(fit, tmp_path):
    fit(PolicyExport(tmp_path / "a" / "b", every_epochs=2, monitor=None), epochs=5)
    assert gradient_steps(tmp_path / "a" / "b") == {"epoch-0002": 2, "epoch-0004": 4}


def test_both_at_once_and_as_tflite(fit, tmp_path):
    export = PolicyExport(tmp_path, every_epochs=3, monitor="score", format="tflite")
    agent = fit(Told([2.0, 1.0, 3.0]), export, epochs=3)
    assert gradient_steps(tmp_path) == {"best": 3, "epoch-0003": 3}
    batch = np.random.default_rng(0).normal(size=(100, 4)).astype(np.float32)
    policy = kerasrl.load_policy(tmp_path / "best")
    assert policy.info["format"] == "tflite"
    np.testing.assert_array_equal(policy.act(batch), agent.predict(batch, verbose=0))


def test_what_was_measured_is_kept_with_the_policy(fit, tiny_env, tmp_path):
    # Given before the evaluation, and still after it.
    evaluation = Evaluation(tiny_env(length=3), episodes=4, every_epochs=2)
    fit(PolicyExport(tmp_path, every_epochs=1), evaluation, epochs=3)
    measured = {
        "episode_return": 3.0,
        "episode_return_std": 0.0,
        "episode_length": 3.0,
        "episodes": 4,
    }
    results = {path.name: info(path)["results"] for path in sorted(tmp_path.iterdir())}
    assert results == {
        "best": measured,
        "epoch-0001": None,
        "epoch-0002": measured,
        "epoch-0003": None,
    }


def test_while_collecting(make_agent, tiny_env, small_replay, tmp_path):
    make_agent("dqn", {"run_eagerly": True}).fit(
        tiny_env(),
        steps_per_epoch=2,
        batch_size=4,
        replay=small_replay(),
        callbacks=[PolicyExport(tmp_path), Collect(warmup_steps=32)],
        validation_data=tiny_env(),
        verbose=0,
    )
    assert info(tmp_path / "best")["env_steps"] == 34  # 32 to begin with, and one for each update.
    assert info(tmp_path / "best")["results"]["episode_return"] == 5.0


def test_its_state_is_the_best(fit, tmp_path):
    export = PolicyExport(tmp_path, monitor="score")
    assert export.get_state() == {"best": None}
    fit(Told([2.0]), export)
    state = json.loads(json.dumps(export.get_state()))
    assert state == {"best": 2.0}
    again = PolicyExport(tmp_path, monitor="score")
    again.set_state(state)
    fit(Told([1.5, 2.0]), again, epochs=2)
    assert gradient_steps(tmp_path) == {"best": 1}
    fit(Told([1.5, 2.5]), export, epochs=2)  # In a further fit it goes on by itself.
    assert gradient_steps(tmp_path) == {"best": 2}


def test_nothing_to_tell_the_best_by_is_warned_of_once(fit, tiny_env, tmp_path):
    with pytest.warns(UserWarning, match="no val_episode_return to tell .* Give fit validation_d"):
        fit(PolicyExport(tmp_path), epochs=3)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit(PolicyExport(tmp_path), epochs=3)
        fit(PolicyExport(tmp_path), Evaluation(tiny_env(), every_epochs=2), epochs=3)
    assert len([w for w in caught if "PolicyExport" in str(w.message)]) == 1
    assert gradient_steps(tmp_path) == {"best": 2}


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"every_epochs": 0}, "every_epochs must be a positive int or None; received 0"),
        ({"monitor": None}, "needs every_epochs, monitor or both"),
        ({"mode": "auto"}, 'mode must be "max" or "min"; received \'auto\''),
        ({"format": "onnx"}, "format must be one of saved_model, tflite"),
    ],
)
def test_bad_arguments_are_refused(tmp_path, arguments, match):
    with pytest.raises(ArgumentError, match=match):
        PolicyExport(tmp_path, **arguments)


@pytest.mark.fault(47)
def test_a_directory_that_cannot_be_shows_before_training(fit, tmp_path):
    (tmp_path / "file").write_text("")
    steps = []
    count = keras.callbacks.LambdaCallback(on_train_batch_end=lambda *_: steps.append(1))
    with pytest.raises(SaveError, match="file/policies could not be written"):
        fit(PolicyExport(tmp_path / "file" / "policies"), count)
    assert not steps
    assert os.listdir(tmp_path) == ["file"]
