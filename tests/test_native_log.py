import logging
import os
import sys
import threading

import absl.logging
import pytest

from kerasrl.native_log import muted

CHATTER = """\
[reverb/cc/reverb_service_impl.cc:168] Stored checkpoint to /tmp/x/2026-11-21T10:05:00+00:00
[reverb/cc/platform/tfrecord_checkpointer.cc:162]  Initializing TFRecordCheckpointer in /tmp/x.
[reverb/cc/platform/default/server.cc:71] Started replay server on port 39921
[reverb/cc/client.cc:165] Sampler and server are owned by the same process (1) so Table replay is
2026-11-21 02:26:01.963234: I tensorflow/core/grappler/devices.cc:66] Number of eligible GPUs: 0
2026-11-21 02:26:01.987159: W tensorflow/compiler/mlir/lite/python/tf_tfl_flatbuffer_helpers.cc:3]
INFO: Created TensorFlow Lite XNNPACK delegate for CPU.
WARNING: Attempting to use a delegate that only supports static-sized tensors with a graph that has
Use '@tf.function' or '@defun' to decorate the function.
pybullet build time: Jan 29 2025 23:17:20
Summary on the non-converted ops:
---------------------------------
 * Accepted dialects: tfl, builtin, func
 * Non-Converted Ops: 4, Total Ops 15, % non-converted = 26.67 %
 * 4 ARITH ops

- arith.constant:    4 occurrences  (f32: 2, i32: 2)



  (f32: 2)
  (i64: 2, f32: 3)
"""

NEWS = """\
2026-11-21 02:26:01.963234: E tensorflow/core/grappler/devices.cc:66] Something is wrong
2026-11-21 02:26:01.963234: F tensorflow/compiler/mlir/lite/x.cc:1] Check failed
2026-11-21 02:26:01.963234: W tensorflow/core/framework/op.cc:1] Allocation exceeds 10% of memory
[reverb/cc/writer.cc:391] Error when stopping the confirmation worker: DATA_LOSS
INFO: epoch 3
INFO:root:started
---------------------------------
 * a list
- a list: of 3 things

  (indented)
Traceback (most recent call last):

error: failed while converting: 'main'
"""


def written(capfd, text):
    with muted():
        os.write(2, text if isinstance(text, bytes) else text.encode())
    return capfd.readouterr().err


def test_chatter_is_dropped(capfd):
    assert written(capfd, CHATTER) == ""


@pytest.mark.parametrize("line", [line for line in CHATTER.splitlines() if line.strip("-")])
def test_every_line_of_chatter_is_known(capfd, line):
    assert written(capfd, line) == ""


@pytest.mark.parametrize("text", [NEWS, "\n\n", "a\n\nb\n", "no end"])
def test_everything_else_follows(capfd, text):
    assert written(capfd, text) == text


def test_news_among_chatter_follows_in_order(capfd):
    assert written(capfd, f"first\n{CHATTER}second\n\n{CHATTER}third") == "first\nsecond\n\nthird"


def test_bytes_that_are_no_text_follow(capfdbinary):
    with muted():
        os.write(2, b"\xff\xfe\n\x00")
    assert capfdbinary.readouterr().err == b"\xff\xfe\n\x00"


def test_a_lot_follows(capfd):
    text = "a line of what another thread says\n" * 10_000
    assert written(capfd, text) == text


def test_what_python_says_follows(capfd):
    handler = logging.StreamHandler(os.fdopen(os.dup(2), "w"))
    with muted():
        print("printed", file=sys.stderr)
        os.write(2, b"native\n")
    handler.stream.close()
    assert sorted(capfd.readouterr().err.split()) == ["native", "printed"]


def test_an_exception_passes_and_stderr_is_itself_again(capfd):
    descriptors = set(os.listdir("/proc/self/fd"))
    with pytest.raises(KeyError), muted():
        os.write(2, b"before\n" + CHATTER.encode())
        raise KeyError
    os.write(2, b"after\n")
    assert capfd.readouterr().err == "before\nafter\n"
    assert set(os.listdir("/proc/self/fd")) == descriptors


def test_one_within_another(capfd):
    with muted():
        os.write(2, b"1\n")
        with muted():
            os.write(2, b"2\n" + CHATTER.encode())
        os.write(2, b"3\n" + CHATTER.encode())
    assert capfd.readouterr().err == "1\n2\n3\n"


def test_the_root_logger_is_left_to_the_user(capfd, monkeypatch):
    monkeypatch.setattr(logging.root, "handlers", [])
    with muted():
        absl.logging.info("what TensorFlow Lite's converter says")
    assert logging.root.handlers == []


def test_without_a_python_stderr(capfd, monkeypatch):
    """As under pythonw, or where someone has closed it."""
    monkeypatch.setattr(sys, "stderr", None)
    assert written(capfd, "news\n") == "news\n"


def test_threads_take_turns(capfd):
    def work(name):
        for _ in range(50):
            with muted():
                os.write(2, f"{name}\n".encode())
                os.write(2, CHATTER.encode())

    threads = [threading.Thread(target=work, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=20)
    os.write(2, b"end\n")
    lines = capfd.readouterr().err.splitlines()
    assert lines[-1] == "end"
    assert sorted(lines[:-1]) == sorted([*"0123"] * 50)
