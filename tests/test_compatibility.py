"""What `kerasrl.compatibility` says of the Keras that is installed is so."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import kerasrl
from kerasrl import compatibility
from kerasrl.training import learner, trainable


class Counting(keras.layers.Layer):
    """A layer with a weight that is not cast, and a counter."""

    def build(self, input_shape):
        self.kept = self.add_weight(name="kept", shape=(2,), **compatibility.UNCAST)
        self.count = self.add_weight(
            name="count", shape=(), dtype="int64", trainable=False, **compatibility.ALIKE
        )
        super().build(input_shape)

    def call(self, inputs):
        return inputs + tf.cast(self.kept, inputs.dtype)


def test_arguments_of_add_weight():
    layer = Counting(dtype="mixed_bfloat16")
    layer(tf.zeros((1, 2)))
    assert compatibility.dtype_of(layer.kept) == tf.float32
    assert compatibility.dtype_of(layer.count) == tf.int64
    assert all(isinstance(weight, compatibility.VARIABLES) for weight in layer.weights)
    assert all(isinstance(compatibility.raw(weight), tf.Variable) for weight in layer.weights)


@pytest.mark.parametrize("replicated", [False, True])
def test_the_number_of_steps_of_an_execution_can_be_set(replicated):
    strategy = tf.distribute.MirroredStrategy if replicated else tf.distribute.get_strategy
    with strategy().scope():
        agent = kerasrl.DQN()
    agent.compile(steps_per_execution=3)
    compatibility.set_steps_per_execution(agent, 5)
    assert compatibility.steps_per_execution(agent) == 5


@pytest.mark.parametrize("jit_compile", [None, False, True])
def test_xla_is_asked_for_by_name_alone(jit_compile):
    network = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    network.compile("sgd", "mse", jit_compile=compatibility.compiled_by_xla(jit_compile))
    assert bool(network.jit_compile) == bool(jit_compile)


def test_inputs_of_models():
    inputs = {"a": keras.Input((2,)), "b": keras.Input((3,), dtype="int32")}
    graph = keras.Model(inputs, keras.layers.Dense(1)(inputs["a"]))
    assert len(compatibility.inputs_of(graph)) == 2
    (specs,) = compatibility.specs_of_inputs(graph)
    assert specs["b"].dtype == tf.int32 and specs["a"].shape.as_list() == [None, 2]

    class Own(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = keras.layers.Dense(1)

        def call(self, inputs):
            return self.dense(inputs)

    own = Own()
    own(tf.zeros((4, 2)))
    assert compatibility.inputs_of(own) is None
    (spec,) = tf.nest.flatten(compatibility.specs_of_inputs(own))
    assert spec.shape[-1] == 2 and spec.dtype == tf.float32


def test_layers_with_constants_of_weights_make_them_anew():
    layer = keras.layers.Normalization()
    layer.adapt(np.array([[0.0], [2.0]]))
    layer.adapt_mean.assign([5.0])
    compatibility.finalize(layer)
    compatibility.finalize(keras.layers.Dense(1))  # Has none.
    np.testing.assert_allclose(layer(np.array([[5.0]])), [[0.0]])


def test_optimizers_and_numbers():
    optimizer = keras.optimizers.Adam(0.25)
    assert not compatibility.legacy(optimizer)
    assert compatibility.number(optimizer.learning_rate) == 0.25
    assert compatibility.number(tf.constant(0.5)) == 0.5


def test_an_interpreter_runs_a_program():
    function = tf.function(lambda x: 2 * x, [tf.TensorSpec((1,), tf.float32)])
    converter = tf.lite.TFLiteConverter.from_concrete_functions(
        [function.get_concrete_function()], function
    )
    made = compatibility.interpreter(model_content=converter.convert())
    made.allocate_tensors()
    made.set_tensor(made.get_input_details()[0]["index"], np.array([3.0], np.float32))
    made.invoke()
    result = made.get_tensor(made.get_output_details()[0]["index"])
    np.testing.assert_array_equal(result, [6.0])


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("steps_per_execution", [1, 4])
@pytest.mark.thorough
def test_the_loop_for_keras_3_is_that_of_keras_2(steps_per_execution, jit_compile, monkeypatch):
    """The last execution of an epoch of 10 steps has 2."""

    def trained():
        keras.utils.set_random_seed(3)
        agent = kerasrl.DQN()
        agent.compile(steps_per_execution=steps_per_execution, jit_compile=jit_compile)
        collect = kerasrl.callbacks.Collect(2, 100)
        arguments = {"epochs": 3, "steps_per_epoch": 10, "seed": 0, "verbose": 0}
        history = agent.fit("CartPole-v1", callbacks=[collect], **arguments).history
        history.pop("env_steps_per_second")
        return agent, history

    if not compatibility.FIT_RESUMES:
        pytest.skip("this is Keras 3, whose own loop cannot do it")
    one, history = trained()
    monkeypatch.setattr(learner, "FIT_RESUMES", False)
    monkeypatch.setattr(trainable, "FIT_RESUMES", False)
    other, of_loop = trained()
    assert int(other.gradient_steps) == int(one.gradient_steps) == 30
    assert of_loop == history
    for ours, theirs in zip(other.get_weights(), one.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_the_loop_for_keras_3_ends_with_its_data(monkeypatch):
    monkeypatch.setattr(learner, "FIT_RESUMES", False)
    monkeypatch.setattr(trainable, "FIT_RESUMES", False)
    agent = kerasrl.DQN()
    agent.compile()
    agent.build("CartPole-v1")
    rows = {
        "observation": np.zeros((12, 4), np.float32),
        "action": np.zeros(12, np.int64),
        "reward": np.ones(12, np.float32),
        "discount": np.ones(12, np.float32),
        "next_observation": np.zeros((12, 4), np.float32),
    }
    batches = tf.data.Dataset.from_tensor_slices(rows).batch(4)
    agent.fit(batches, epochs=2, verbose=0)
    assert int(agent.gradient_steps) == 6
    with pytest.warns(UserWarning, match="data ended after 3 of 5 steps"):
        agent.fit(batches, epochs=2, steps_per_epoch=5, verbose=0)
    assert int(agent.gradient_steps) == 9
