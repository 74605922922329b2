"""Warnings show the line of the user's that led to them."""

import threading
import warnings

import pytest

from kerasrl.callbacks import CollectRollouts
from kerasrl.warning import warn


def test_the_callers_own_line():
    with pytest.warns(UserWarning, match="^mind this$") as record:
        warn("mind this")
    assert record[0].filename == __file__


def test_through_keras_and_callbacks(make_agent, tiny_env):
    agent, env = make_agent("a2c", {"run_eagerly": True}), tiny_env()
    arguments = {"steps_per_epoch": 1, "callbacks": [CollectRollouts(4)], "verbose": 0}
    with pytest.warns(UserWarning, match="the environment that is trained on") as record:
        agent.fit(env, validation_data=env, **arguments)
    assert {warning.filename for warning in record} == {__file__}


def test_where_nothing_is_the_users():
    with warnings.catch_warnings(record=True) as record:
        warnings.simplefilter("always")
        thread = threading.Thread(target=warn, args=["mind this"])
        thread.start()
        thread.join()
    assert [str(warning.message) for warning in record] == ["mind this"]
