"""Targets and clones of networks of every make."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from network_table import NETWORKS, called_class, critic, move, sequence

from kerasrl.errors import NetworkError
from kerasrl.networks import ObservationNormalization, Target, all_layers, clone, twin
from kerasrl.private import made_to_be_trained

Dense = keras.layers.Dense
X = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
ONE = tf.constant(1, tf.int64)


def output(network, inputs=X):
    return network(inputs, training=False).numpy()


def trained(network):
    """Two steps, by which the statistics of batches move too."""
    optimizer = keras.optimizers.SGD(0.1)
    for _ in range(2):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(tf.cast(network(X, training=True), tf.float32) - 3))
        if not network.trainable_variables:
            return  # Keras 3 takes a frozen network's word before its layers', and refuses nothing.
        gradients = tape.gradient(loss, network.trainable_variables)
        optimizer.apply_gradients(zip(gradients, network.trainable_variables, strict=True))


@pytest.mark.regression(1)
@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.table
def test_a_target_follows_its_source(name):
    source = NETWORKS[name]()
    target = Target(source)
    np.testing.assert_array_equal(target(X), output(source))
    before = [w.numpy() for w in source.weights]
    trained(source)
    if name != "adapted Normalization":  # Its statistics are constants.
        move(source)
    assert (target(X) != output(source)).numpy().any()
    target.update(source, ONE)
    np.testing.assert_array_equal(target(X), output(source))
    # Half of the way back, but for statistics, which are the source's whatever the step.
    after = [w.numpy() for w in source.weights]
    for weight, old in zip(source.weights, before, strict=True):
        weight.assign(old)
    target.step_size.assign(0.5)
    target.update(source, ONE)
    learned = {id(weight) for weight in made_to_be_trained(all_layers(source))}
    for weight, old, new in zip(source.weights, before, after, strict=True):
        weight.assign((old + new) / 2 if id(weight) in learned else old)
    close = {"rtol": 1e-2, "atol": 1e-2} if "float16" in str(name) else {"rtol": 1e-5, "atol": 1e-5}
    np.testing.assert_allclose(target(X), output(source), **close)


CLONED = ["frozen normaliser", "frozen within a nested", "shared", "class in a model", "numbered"]


@pytest.mark.regression(1)
@pytest.mark.parametrize("name", [*CLONED, "adapted Normalization", "mixed precision"])
@pytest.mark.table
def test_a_clone_is_the_same_network(name):
    source = NETWORKS[name]()
    move(source) if name != "adapted Normalization" else None
    copy, fresh = clone(source), clone(source, same_weights=False)
    np.testing.assert_array_equal(output(copy), output(source))
    for made in (copy, fresh):
        assert len(made.weights) == len(source.weights)
        assert [w.shape for w in made.trainable_weights] == [
            w.shape for w in source.trainable_weights
        ]
    assert (output(fresh) != output(source)).any()


@pytest.mark.regression(1)
@pytest.mark.parametrize("name", ["frozen first of MLP", "observations normalised", "shared"])
@pytest.mark.table
def test_a_twin_is_trained_and_frozen_as_the_first(name):
    # Keras may take what is frozen from elsewhere: it never learns, so that chance would stay.
    one = critic(NETWORKS[name]())
    move(one)
    both = twin(one, [keras.Input((4,)), keras.Input((2,))])
    assert len(both.trainable_weights) == 2 * len(one.trainable_weights)
    second = both.get_layer(f"{one.name}_twin")
    for first, other in zip(one.non_trainable_weights, second.non_trainable_weights, strict=True):
        np.testing.assert_array_equal(first, other)
    target = Target(both)
    move(both, seed=1)
    target.update(both, ONE)
    inputs = [X, X[:, :2]]
    np.testing.assert_array_equal(target(inputs), output(both, inputs))


@pytest.mark.regression(1)
def test_freezing_later_changes_nothing():
    source = sequence(Dense(4), keras.layers.BatchNormalization(), Dense(4))
    target = Target(source)
    for layer, trainable in ((0, False), (2, False), (0, True)):
        source.layers[layer].trainable = trainable
        move(source)
        target.update(source, ONE)
        np.testing.assert_array_equal(target(X), output(source))


@pytest.mark.regression(29)
def test_statistics_are_copied_whole_and_weights_when_due():
    source = sequence(ObservationNormalization(), keras.layers.BatchNormalization())
    source.layers[2].trainable = False  # Its weights are weights all the same.
    target = Target(source)
    target.period.assign(2)
    target.step_size.assign(0.25)
    normalize, batch, head = target.network.layers
    source.layers[0].adapt(X * 3 + 200)
    source(X * 3 + 200, training=True)
    for layer in source.layers[1:]:
        layer.set_weights([w + 1 for w in layer.get_weights()])
    before = [[w + 0 for w in layer.get_weights()] for layer in (batch, head)]  # Keras 3 has views.
    for step, share in ((1, 0.0), (2, 0.25)):
        target.update(source, tf.constant(step, tf.int64))
        np.testing.assert_array_equal(normalize.means[0], source.layers[0].means[0])
        assert normalize.count.numpy() == 6
        statistics = zip(batch.get_weights()[2:], source.layers[1].get_weights()[2:], strict=True)
        for mine, its in statistics:
            np.testing.assert_array_equal(mine, its)
        for layer, theirs, olds in zip((batch, head), source.layers[1:], before, strict=True):
            for mine, its, old in zip(
                layer.get_weights()[:2], theirs.get_weights()[:2], olds, strict=False
            ):
                np.testing.assert_allclose(mine, old + share * (its - old), rtol=1e-6)


@keras.saving.register_keras_serializable("target_networks")
class Forgetful(keras.layers.Layer):
    """Has a setting that its config does not tell, or weights that depend on chance."""

    made = 0

    def __init__(self, how="scale", scale=None, **kwargs):
        super().__init__(**kwargs)
        Forgetful.made += 1
        self.how = how
        self.scale = scale or 1.0
        self.dense = Dense(4 + (Forgetful.made if how == "size" else 0))
        if how == "closure":
            inner = Dense(4)
            self.hidden = lambda x: inner(x)

    def call(self, inputs):
        if self.how == "closure":
            return self.hidden(inputs)
        return self.dense(inputs) * self.scale

    def get_config(self):
        return {**super().get_config(), "how": self.how}


@pytest.mark.regression(1)
@pytest.mark.parametrize(
    ("how", "message"),
    [
        (
            "size",
            r"nothing in the copy corresponds to .*dense.*kernel, float32\[4, \d\]",
        ),
        ("scale", "with the same weights its copy puts out something else"),
        ("closure", "with the same weights its copy puts out something else"),
    ],
)
def test_what_cannot_be_copied_is_refused_by_name(how, message):
    source = sequence(Forgetful(how, scale=3.0))
    before = source.get_weights()
    with pytest.raises(NetworkError, match=message):
        Target(source)
    for weight, old in zip(source.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, old)


@pytest.mark.regression(1)
def test_a_twin_does_not_share_less_than_the_first():
    inner = keras.layers.TimeDistributed(shared := Dense(2))
    inputs = [keras.Input((4,)), keras.Input((2,))]
    steps = keras.layers.Flatten()(inner(keras.layers.Reshape((2, 2))(inputs[0])))
    joint = keras.layers.Concatenate()([steps, shared(inputs[1])])
    source = keras.Model(inputs, Dense(1)(joint))
    with pytest.raises(NetworkError, match="its copy has .*bias.* more than once"):
        twin(source, [keras.Input((4,)), keras.Input((2,))])
    target = Target(source)
    move(source)
    target.update(source, ONE)
    np.testing.assert_array_equal(target([X, X[:, :2]]), output(source, [X, X[:, :2]]))


@pytest.mark.regression(1)
def test_random_networks_are_copied():
    source = sequence(keras.layers.Lambda(lambda x: x + tf.random.normal(tf.shape(x))), Dense(4))
    target = Target(source)
    for one, other in zip(target.network.weights, source.weights, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.regression(1)
def test_a_target_may_be_updated_from_another_network_of_its_kind():
    target, other = Target(called_class()), called_class()
    move(other)
    target.update(other, ONE)
    np.testing.assert_array_equal(target(X), output(other))


@pytest.mark.regression(1)
def test_constants_that_an_adapted_layer_keeps_are_made_anew():
    source = NETWORKS["adapted Normalization"]()
    target = Target(source)
    source.layers[0].adapt(X * 9 + 2)
    target.take_statistics()
    np.testing.assert_array_equal(target(X), output(source))
