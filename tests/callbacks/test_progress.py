"""What is printed while fitting and evaluating."""

import fcntl
import os
import pty
import re
import struct
import sys
import termios
import threading

import keras
import numpy as np
import pytest

from kerasrl.callbacks import Collect

pytestmark = pytest.mark.regression(39)


class Terminal:
    """A terminal of some columns in the place of standard output."""

    def __init__(self, columns):
        self._master, slave = pty.openpty()
        self.stream = os.fdopen(slave, "w")
        self.resize(columns)
        self._read = []
        self._reader = threading.Thread(target=self._drain)
        self._reader.start()

    def resize(self, columns):
        size = struct.pack("HHHH", 24, columns, 0, 0)
        fcntl.ioctl(self.stream.fileno(), termios.TIOCSWINSZ, size)

    def written(self):
        """All that was written, when nothing more is."""
        self.stream.close()
        self._reader.join()
        os.close(self._master)
        return b"".join(self._read).decode().replace("\r\n", "\n")

    def _drain(self):
        try:
            while chunk := os.read(self._master, 4096):
                self._read.append(chunk)
        except OSError:  # The other end is closed.
            pass


def shown(written):
    """What stands on the terminal at the end, line by line."""
    lines = []
    for line in written.split("\n"):
        text = ""
        for piece in line.split("\r"):
            text = piece + text[len(piece) :]
        lines.append(text.rstrip())
    return lines


@pytest.fixture
def terminal(monkeypatch):
    """Makes terminals, and has what is printed go there, as often as it may."""
    monkeypatch.setattr("kerasrl.callbacks.progress._INTERVAL", 0.0)

    def make(columns):
        made = Terminal(columns)
        monkeypatch.setattr(sys, "stdout", made.stream)
        return made

    return make


@pytest.fixture
def fit(make_agent, tiny_env, small_replay):
    def run(*callbacks, **arguments):
        return make_agent("dqn", {"run_eagerly": True}).fit(
            tiny_env(),
            batch_size=8,
            replay=small_replay(),
            callbacks=[Collect(4, warmup_steps=32, updates_per_turn=1), *callbacks],
            **({"epochs": 2, "steps_per_epoch": 4, "verbose": 1} | arguments),
        )

    return run


@pytest.mark.parametrize("columns", [30, 80, 120])
@pytest.mark.table
def test_no_line_is_wider_than_the_terminal(terminal, fit, tiny_env, columns):
    screen = terminal(columns)
    fit(validation_data=tiny_env(length=3))
    written = screen.written()
    assert max(map(len, re.split("[\r\n]", written))) < columns
    lines = shown(written)
    (first, second) = (lines.index(f"Epoch {i}/2") for i in (1, 2))
    text = " ".join(line.strip() for line in lines[first + 1 : second])
    for part in ("4/4", "env_steps: 48", "episode_return: 5", "val_episode_return: 3"):
        assert part in text
    if columns >= 80:
        assert second - first <= 6


def test_a_line_that_runs_overwrites_itself_with_a_few_figures(terminal, fit):
    screen = terminal(80)
    fit(epochs=1)
    pieces = [piece.strip() for piece in screen.written().split("\n")[0].split("\r")]
    assert [piece.split()[0] for piece in pieces] == ["1/4", "2/4", "3/4", "4/4", "4/4"]
    for i, piece in enumerate(pieces[:-1]):
        assert re.search(
            rf" - \d+s - loss: \S+ - episode_return: 5 - env_steps: {36 + 4 * i} - \S+/s$", piece
        )


def test_a_terminal_that_is_made_smaller(terminal, fit):
    screen = terminal(120)
    resize = keras.callbacks.LambdaCallback(
        on_batch_end=lambda batch, logs: screen.resize(50) if batch == 1 else None
    )
    fit(resize, epochs=1)
    pieces = re.split("[\r\n]", screen.written())
    assert max(map(len, pieces[2:])) < 50


def test_an_epoch_that_the_budget_cuts_short_is_not_full(terminal, fit):
    screen = terminal(80)
    fit(epochs=None, env_steps=32 + 24)
    lines = [line for line in shown(screen.written()) if "/4 [" in line]
    assert [line.split(" - ")[0] for line in lines] == [
        "4/4 [====================]",
        "2/4 [=========>..........]",
    ]


def test_a_file_holds_the_ends_of_epochs_only(fit, capsys):
    fit()
    printed = capsys.readouterr().out
    assert "\r" not in printed
    assert printed.count("4/4") == 2


def test_verbose_2_is_one_plain_line_an_epoch(fit, capsys):
    class Log(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            logs |= {"val_episode_return": -19.648, "told": float("nan")}
            if epoch == 0:
                logs["once"] = 1.0

    fit(Log(), verbose=2)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" - ")[0] for line in lines] == ["Epoch 1/2", "4/4", "Epoch 2/2", "4/4"]
    for line, env_steps in zip(lines[1::2], (48, 64), strict=True):
        assert f" - env_steps: {env_steps} - " in line
        assert " - val_episode_return: -19.65 - " in line
        assert line.endswith("told: nan - once: 1") or "once" not in line  # NaN now.


def test_verbose_0_is_silent(fit, make_agent, tiny_env, capsys):
    fit(verbose=0)
    make_agent("dqn").evaluate(tiny_env(), verbose=0)
    assert capsys.readouterr() == ("", "")


def test_without_interactive_logging_nothing_is_printed(fit, make_agent, tiny_env, capsys, caplog):
    caplog.set_level("INFO", logger="absl")
    keras.utils.disable_interactive_logging()
    try:
        fit(verbose=1)
        make_agent("dqn").evaluate(tiny_env(), verbose=1)
    finally:
        keras.utils.enable_interactive_logging()
    assert capsys.readouterr().out == ""
    assert "episode_return: 5" in caplog.text


def test_the_number_of_batches_of_a_dataset_is_known_after_an_epoch(make_agent, batches, capsys):
    agent = make_agent("dqn", {"run_eagerly": True})
    agent.fit(batches(agent, count=3), epochs=2, verbose=2)
    assert [line[:3] for line in capsys.readouterr().out.splitlines()] == ["Epo", "3/3"] * 2


def test_a_run_that_fails_leaves_its_line(terminal, fit):
    class Fail(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch == 2:
                raise ValueError

    screen = terminal(80)
    with pytest.raises(ValueError):
        fit(Fail())
    assert screen.written().endswith("\n")


@pytest.mark.parametrize("columns", [60, 120])
def test_evaluation(terminal, make_agent, tiny_env, columns):
    screen = terminal(columns)
    make_agent("dqn").evaluate(tiny_env(length=3), episodes=4, verbose=1)
    written = screen.written()
    assert max(map(len, re.split("[\r\n]", written))) < columns
    text = " ".join(shown(written))
    assert "4/4 [====================]" in text
    assert "episode_return: 3" in text and "episode_length: 3" in text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (3000.0, "3000"),
        (np.float32(1_000_000), "1000000"),
        (-19.648, "-19.65"),
        (-1234.56, "-1235"),
        (0.0, "0"),
        (0.5, "0.5"),
        (0.99999, "1"),
        (3e-4, "0.0003"),
        (1.25e-5, "1.25e-05"),
        (float("inf"), "inf"),
        (float("nan"), "nan"),
        ("text", "text"),
    ],
)
def test_numbers_are_plain(value, text):
    from kerasrl.callbacks.progress import plain

    assert plain(value) == text
