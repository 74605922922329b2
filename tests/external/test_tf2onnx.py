"""An exported policy as ONNX."""

import numpy as np
import pytest
import tensorflow as tf

import kerasrl

tf2onnx = pytest.importorskip(
    "tf2onnx", reason="tf2onnx is installed by .ci/external alone, see docs/constraints.txt"
)


@pytest.mark.regression(43)
def test_an_exported_policy_converts_and_acts_alike(tmp_path):
    from onnx.reference import ReferenceEvaluator

    agent = kerasrl.SAC()
    agent.build("Pendulum-v1")
    agent.export_policy(tmp_path)
    policy = tf.saved_model.load(str(tmp_path))
    act = policy.signatures["act"]
    signature = [tf.TensorSpec((None, 3), tf.float32, name="observation")]
    converted, _ = tf2onnx.convert.from_function(
        tf.function(lambda observation: act(observation=observation)), signature, opset=15
    )
    observation = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    (actions,) = ReferenceEvaluator(converted).run(None, {"observation": observation})
    np.testing.assert_allclose(actions, agent.predict(observation, verbose=0), atol=1e-5)
