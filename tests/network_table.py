"""Networks of every make, from `[B, 4]` to `[B, 2]`, that whatever copies networks has to copy."""

import keras
import numpy as np
import tensorflow as tf

from kerasrl.compatibility import KERAS_3, dtype_of
from kerasrl.networks import MLP, LayerNormMLP, ObservationNormalization

Dense, BatchNormalization = keras.layers.Dense, keras.layers.BatchNormalization
registered = keras.saving.register_keras_serializable("network_table")


@registered
class OtherOrder(keras.layers.Layer):
    """Makes its parts in another order than it calls them, and normalises twice."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.last = Dense(4)
        self.late = BatchNormalization()
        self.early = BatchNormalization()
        self.first = Dense(4, "tanh")

    def call(self, inputs, training=None):
        hidden = self.early(self.first(inputs), training=training)
        return self.late(self.last(hidden), training=training)


@registered
class MadeLate(keras.layers.Layer):
    """Makes its parts when it is called, and only the first time."""

    parts = None

    def call(self, inputs):
        if self.parts is None:
            self.parts = {"second": Dense(4), "first": Dense(4, "tanh")}
        return self.parts["second"](self.parts["first"](inputs))


@registered
class Numbered(keras.layers.Layer):
    """Keeps its parts in a dict of numbers, and weights of its own in a list."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.parts = {2: Dense(4), 1: Dense(4, "tanh")}

    def build(self, input_shape):
        self.scales = [
            self.add_weight(name="scale", shape=(4,), initializer="ones") for _ in range(2)
        ]
        self.fixed = self.add_weight(name="fixed", shape=(4,), initializer="ones", trainable=False)

    def call(self, inputs):
        hidden = self.parts[1](inputs) * self.scales[0] * self.fixed
        return self.parts[2](hidden) * self.scales[1]


@registered
class Normalised(keras.layers.Layer):
    """Has a normaliser within."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.dense = Dense(4)
        self.normalize = ObservationNormalization()

    def call(self, inputs):
        return self.dense(self.normalize(inputs))


@registered
class Twice(keras.layers.Layer):
    """Has one part under two names."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.one = Dense(4, "tanh")
        self.other = self.one

    def call(self, inputs):
        return self.other(self.one(inputs))


@registered
class Lists(keras.Model):
    """A model that is a class, with lists within lists."""

    def __init__(self, outputs=2, **kwargs):
        super().__init__(**kwargs)
        self.num_outputs = outputs
        self.head = Dense(outputs)
        self.blocks = [[Dense(4), BatchNormalization()], [Dense(4), BatchNormalization()]]

    def call(self, inputs, training=None):
        for dense, normalize in reversed(self.blocks):
            inputs = normalize(dense(inputs), training=training)
        return self.head(inputs)

    def get_config(self):
        return {"outputs": self.num_outputs, "name": self.name}


@registered
class NoName(Lists):
    """One whose config does not tell its name."""

    def get_config(self):
        return {"outputs": self.num_outputs}


def sequence(*layers):
    """The layers one after another, and two outputs."""
    return keras.Sequential([keras.Input((4,)), *layers, Dense(2)])


def pairs(*layers):
    """Layers for sequences of two steps."""
    return sequence(keras.layers.Reshape((2, 2)), *layers, keras.layers.Flatten())


def nested(*layers, inputs=4):
    """The layers as a model of their own."""
    return keras.Sequential([keras.Input((inputs,)), *layers])


def frozen(layer, *path):
    """Freezes what is found in a layer by attributes and indices, when it is built."""
    network = sequence(layer)
    for key in path:
        layer = layer.layers[key] if isinstance(layer, keras.Model) else getattr(layer, key)
    for part in layer[:1] if isinstance(layer, list) else [layer]:
        part.trainable = False
    return network


def shared():
    inputs, dense = keras.Input((4,)), Dense(4, "tanh")
    inner = nested(dense, BatchNormalization())
    joint = keras.layers.Add()([inner(dense(inner(inputs))), dense(inputs)])
    return keras.Model(inputs, Dense(2)(joint))


def called_twice():
    inputs, inner = keras.Input((4,)), nested(Dense(4), BatchNormalization(), Dense(4, "tanh"))
    return keras.Model(inputs, Dense(2)(inner(inner(inputs))))


def branches():
    inputs = keras.Input((4,))
    parts = [Dense(width)(BatchNormalization()(inputs)) for width in (3, 2, 3)]
    return keras.Model(inputs, Dense(2)(keras.layers.Concatenate()(parts[::-1])))


def attention():
    inputs = keras.Input((4,))
    tokens = keras.layers.Reshape((2, 2))(inputs)
    tokens = keras.layers.MultiHeadAttention(2, 3)(tokens, tokens)
    tokens = keras.layers.LayerNormalization()(tokens)
    return keras.Model(inputs, Dense(2)(keras.layers.Flatten()(tokens)))


def under_policy(policy, *layers):
    """Makes a network under a policy, of which nothing is left afterwards."""
    keras.mixed_precision.set_global_policy(policy)
    try:
        make = [layer() for layer in layers]
        inner = nested(*make)
    finally:
        keras.mixed_precision.set_global_policy("float32")
    return sequence(inner)


def frozen_model():
    network = sequence(Dense(4, "tanh"), BatchNormalization())
    network.trainable = False
    network.layers[-1].trainable = True
    return network


def frozen_from_the_start():
    return sequence(Dense(4, "tanh", trainable=False), Dense(4), BatchNormalization())


def called_class():
    network = Lists()
    network(tf.zeros((1, 4)))
    return network


def adapted():
    normalize = keras.layers.Normalization()
    normalize.adapt(np.array([[3.0, 1.0, -4.0, 1.0], [5.0, 9.0, 2.0, 6.0], [5.0, 3.0, 5.0, 8.0]]))
    return sequence(normalize)


NETWORKS = {
    "plain": lambda: sequence(Dense(4, "tanh")),
    "dropout": lambda: sequence(Dense(8), keras.layers.Dropout(0.5)),
    "batch normalised": lambda: sequence(BatchNormalization(), Dense(4), BatchNormalization()),
    "layer normalised": lambda: sequence(LayerNormMLP((4, 4)), keras.layers.LayerNormalization()),
    "observations normalised": lambda: sequence(ObservationNormalization(), Dense(4)),
    "normaliser in a layer": lambda: sequence(Normalised()),
    "adapted Normalization": adapted,
    "nested": lambda: sequence(nested(Dense(4), nested(Dense(4), BatchNormalization()))),
    "nested and frozen": lambda: frozen(nested(Dense(4), BatchNormalization(), Dense(4)), 0),
    "frozen within a nested": lambda: frozen(nested(nested(Dense(4), Dense(4)), Dense(4)), 0, 1),
    "frozen first of MLP": lambda: frozen(MLP((4, 4)), "stack"),
    "frozen last of two": lambda: frozen(OtherOrder(), "last"),
    "frozen normaliser": lambda: frozen(OtherOrder(), "late"),
    "frozen but for the head": frozen_model,
    "frozen from the start": frozen_from_the_start,
    "shared": shared,
    "called twice": called_twice,
    "branches": branches,
    "LSTM": lambda: pairs(keras.layers.LSTM(3, return_sequences=True, recurrent_dropout=0.1)),
    "stacked cells": lambda: pairs(
        keras.layers.RNN([keras.layers.GRUCell(3), keras.layers.SimpleRNNCell(2)])
    ),
    "Bidirectional": lambda: pairs(keras.layers.Bidirectional(keras.layers.GRU(3))),
    "attention": attention,
    "convolution": lambda: pairs(keras.layers.Conv1D(3, 2), BatchNormalization()),
    "TimeDistributed": lambda: pairs(
        keras.layers.TimeDistributed(nested(Dense(3), BatchNormalization(), inputs=2))
    ),
    "TimeDistributed normaliser": lambda: pairs(
        keras.layers.TimeDistributed(ObservationNormalization()), BatchNormalization()
    ),
    "other order": lambda: sequence(OtherOrder()),
    "two of other order": lambda: sequence(OtherOrder(), OtherOrder()),
    "made late": lambda: sequence(MadeLate()),
    "numbered": lambda: sequence(Numbered()),
    "under two names": lambda: sequence(Twice()),
    "class": called_class,
    "class in a model": lambda: sequence(Lists(3), NoName(3)),
    "mixed precision": lambda: under_policy(
        "mixed_float16",
        lambda: MLP((4, 4)),
        BatchNormalization,
        ObservationNormalization,
    ),
    "bfloat16": lambda: under_policy("mixed_bfloat16", lambda: MLP((4, 4)), OtherOrder),
}
if KERAS_3:
    del NETWORKS["made late"]  # A layer's parts are made before it is built there.


def all_in_one():
    """What each needs care for another reason, in one network; quicker than one after another."""
    inputs = keras.Input((4,))
    names = (
        "shared",
        "called twice",
        "frozen first of MLP",
        "frozen normaliser",
        "nested and frozen",
    )
    names += (
        "numbered",
        "class in a model",
        "TimeDistributed",
        "under two names",
        "mixed precision",
    )
    parts = [NETWORKS[name]()(inputs) for name in names]
    parts = [keras.layers.Activation("linear", dtype="float32")(part) for part in parts]
    return keras.Model(inputs, Dense(2)(Normalised()(keras.layers.Concatenate()(parts))))


def critic(network, outputs=1):
    """A network of observations, and then an action of two, to the outputs of a critic."""
    inputs = [keras.Input((4,)), keras.Input((2,))]
    joint = keras.layers.Concatenate()([network(inputs[0]), inputs[1]])
    return keras.Model(inputs, Dense(outputs)(joint))


def move(network, seed=0):
    """Gives a network other weights and statistics, positive ones where they were."""
    rng = tf.random.Generator.from_seed(seed)
    for weight in network.weights:
        if dtype_of(weight).is_floating:
            weight.assign_add(tf.cast(rng.uniform(weight.shape, 0.1, 0.5), weight.dtype))
