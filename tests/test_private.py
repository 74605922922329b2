"""What `kerasrl.private` uses of Keras and Reverb is still what it was."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasrl import private


class Resumed(private.ResumableModel):
    """Begins at the second step of the third epoch."""

    def __init__(self):
        super().__init__()
        self.dense = keras.layers.Dense(1)
        self.asked = []

    def call(self, x):
        return self.dense(x)

    def initial_counters(self, initial_epoch, steps_per_epoch):
        self.asked.append((initial_epoch, steps_per_epoch))
        return (2, 1) if len(self.asked) == 1 else None


class Steps(keras.callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.steps = []

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_begin(self, batch, logs=None):
        self.steps.append((self.epoch, batch))


@pytest.mark.keras_2
def test_keras_asks_for_the_epoch_and_the_step_to_begin_with():
    model, steps = Resumed(), Steps()
    model.compile("sgd", "mse")
    data = tf.data.Dataset.from_tensors((np.ones((2, 1)), np.ones((2, 1)))).repeat()
    for _ in range(2):
        model.fit(data, steps_per_epoch=2, epochs=4, callbacks=[steps], verbose=0, initial_epoch=1)
    assert model.asked == [(1, 2), (1, 2)]
    assert steps.steps == [(2, 1), (3, 0), (3, 1), *[(e, s) for e in (1, 2, 3) for s in (0, 1)]]


class Slow(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        tf.timestamp()


@pytest.mark.keras_2
def test_a_list_without_timing_keeps_no_times():
    def times(change):
        listed = keras.callbacks.CallbackList([Slow()])
        change(listed)
        for batch in range(3):
            listed.on_train_batch_begin(batch)
            listed.on_train_batch_end(batch)
        return dict(listed._hook_times)

    assert times(lambda listed: None)
    assert times(private.in_turn) == {}


def test_a_layer_that_was_replaced_is_no_more_among_a_models():
    model, first, second = Resumed(), keras.layers.Dense(1), keras.layers.Dense(1)
    model.other = model.dense
    model.dense = first
    model.dense = second
    assert [id(layer) for layer in model.layers] == [id(model.other), id(second)]


def test_a_network_has_the_name_that_it_was_given():
    network = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)], name="one")
    private.rename(network, "other")
    assert network.name == network.get_config()["name"] == "other"


@pytest.mark.keras_2
def test_the_loss_scale_is_a_variable_that_can_be_set():
    optimizer = keras.mixed_precision.LossScaleOptimizer(keras.optimizers.SGD())
    private.loss_scale(optimizer).assign(128.0)
    assert float(optimizer.loss_scale) == 128.0


@pytest.mark.keras_3
def test_variables_that_were_about_to_be_made_are_forgotten():
    class Late(keras.layers.Layer):
        def __init__(self, error=None):
            super().__init__()
            self.dense, self.error = keras.layers.Dense(1), error

        def call(self, inputs):
            outputs = self.dense(inputs)
            if self.error is not None:
                raise self.error
            return outputs

    with pytest.raises(ZeroDivisionError):
        Late(ZeroDivisionError())(keras.Input((2,)))
    private.forget_unmade_variables()
    inputs = keras.Input((3,))
    assert [w.shape for w in keras.Model(inputs, Late()(inputs)).weights] == [(3, 1), (1,)]


@pytest.mark.reverb
def test_the_messages_of_reverbs_files(tmp_path):
    import reverb

    from kerasrl.replay.server.loopback import LoopbackServer

    server = LoopbackServer(lambda name: reverb.Table.queue(name, 2))
    reverb.Client(server.address).insert(np.float32(1), {server.table: 3.0})
    server.save(tmp_path / "saved")
    server.stop()

    def records(name):
        path = str(tmp_path / "saved" / name)
        return list(tf.data.TFRecordDataset(path, "ZLIB").as_numpy_iterator())

    table_message, item_message = private.checkpoint_messages()
    (saved,) = map(table_message.FromString, records("tables.tfrecord"))
    assert (saved.table_name, saved.rate_limiter.insert_count) == (server.table, 1)
    (item,) = map(item_message.FromString, records("items.tfrecord"))
    assert (item.table, item.priority) == (server.table, 3.0)


@pytest.mark.parametrize("when", ["at the start", "later", "never"])
def test_what_was_made_to_be_trained_is_known_of_frozen_layers(when):
    frozen = keras.layers.BatchNormalization(trainable=when != "at the start")
    network = keras.Sequential([keras.Input((2,)), frozen])
    frozen.trainable = when == "never"
    made = private.made_to_be_trained(network.layers)
    assert {id(v) for v in made} == {id(frozen.gamma), id(frozen.beta)}


def test_functions_that_a_graph_calls_are_known_as_long_as_their_owner_exists():
    class Owner:
        pass

    def loop(x):
        return tf.while_loop(lambda i, x: i < 3, lambda i, x: (i + 1, x * 2), [0, x])[1]

    traced = tf.function(loop).get_concrete_function(tf.TensorSpec((), tf.float32))
    definition = traced.graph.as_graph_def()
    for function in definition.library.function:
        function.signature.name += "_again"
    for node in definition.node:
        for attribute in node.attr.values():
            if attribute.HasField("func"):
                attribute.func.name += "_again"

    @tf.function
    def call(x):
        elements, inputs = [traced.outputs[0].name], {traced.inputs[0].name: x}
        return tf.graph_util.import_graph_def(definition, inputs, elements)[0]

    owner = Owner()
    private.keep_functions(owner, definition)
    assert call(tf.constant(3.0)).numpy() == 24
    from tensorflow.python.eager import context

    names = [function.signature.name for function in definition.library.function]
    assert names and all(context.context().has_function(name) for name in names)
    del owner
    assert not any(context.context().has_function(name) for name in names)


@pytest.mark.keras_3
def test_a_backup_says_with_which_epoch_to_begin(tmp_path):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    backup = keras.callbacks.BackupAndRestore(tmp_path, delete_checkpoint=False)
    model.fit(np.ones((2, 2)), np.ones((2, 1)), epochs=3, callbacks=[backup], verbose=0)
    assert private.restored_epoch(model) is None
    backup.set_model(model)
    backup.on_train_begin()
    assert private.restored_epoch(model) == 3
    assert private.restored_epoch(model) is None
