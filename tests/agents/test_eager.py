"""What an agent says where TensorFlow does not execute eagerly."""

import pytest
import tensorflow as tf

import kerasrl
from kerasrl.errors import AgentStateError


@pytest.mark.regression(53)
def test_an_agent_in_a_graph_is_refused():
    with (
        tf.Graph().as_default(),
        pytest.raises(AgentStateError, match="needs TensorFlow's eager execution.*Leave out"),
    ):
        kerasrl.DQN()


@pytest.mark.regression(53)
@pytest.mark.slow
@pytest.mark.parametrize("switch", ["disable_eager_execution", "disable_v2_behavior"])
def test_eager_execution_switched_off(run_python, switch):
    output = run_python(
        f"""
import tensorflow as tf
tf.compat.v1.{switch}()
import kerasrl
try:
    kerasrl.PPO()
except kerasrl.errors.AgentStateError as error:
    print("said:", error)
"""
    )
    assert "said: kerasrl needs TensorFlow's eager execution, which is switched off" in output
