"""Normalisers wherever they stand in a network: each is adapted to what it is fed."""

import gymnasium as gym
import keras
import numpy as np
import pytest
import tensorflow as tf
from network_table import registered

import kerasrl
from kerasrl.callbacks import Collect, CollectRollouts
from kerasrl.errors import AgentStateError, NetworkError
from kerasrl.networks import MLP, ObservationNormalization, observation_features

layers = keras.layers
PARTS = gym.spaces.Dict(
    a=gym.spaces.Box(-9, 9, (3,)), b=gym.spaces.Box(-9, 9, (3,)), c=gym.spaces.Discrete(4)
)
BOX = gym.spaces.Box(-1, 1, (2,), np.float32)
rng = np.random.default_rng(0)
OBSERVATION = {
    "a": rng.normal(5, 1, (64, 3)).astype(np.float32),
    "b": rng.normal(-3, 2, (64, 3)).astype(np.float32),
    "c": rng.integers(0, 4, 64),
}
A, B = OBSERVATION["a"], OBSERVATION["b"]


def parts():
    return {
        "a": keras.Input((3,), name="a"),
        "b": keras.Input((3,), name="b"),
        "c": keras.Input((), dtype="int64", name="c"),
    }


def normalizer(name="one"):
    return ObservationNormalization(name=name)


@registered
class Within(layers.Layer):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.parts = [normalizer()]

    def call(self, inputs):
        return self.parts[0](inputs["b"])


def each(inputs):
    return [normalizer("one")(inputs["a"]), normalizer("two")(inputs["b"])]


def swapped(inputs):
    return normalizer()([inputs["b"], inputs["a"]])


def subset(inputs):
    return list(normalizer()({"x": inputs["b"], "y": inputs["c"]}.copy()).values())[:1]


def shared(inputs):
    one = normalizer()
    return [one(inputs["a"]), one(inputs["b"])]


def after_others(inputs):
    joint = layers.Concatenate()([inputs["b"], layers.Rescaling(2.0)(inputs["a"])])
    return [normalizer()(layers.Reshape((3, 2))(joint))]


def one_after_another(inputs):
    return [normalizer("two")(layers.Rescaling(2.0)(normalizer("one")(inputs["a"])))]


def within(inputs):
    return [Within()(inputs)]


def nested(inputs):
    inner = keras.Sequential([keras.Input((3,)), normalizer(), layers.Dense(2)])
    return [inner(inputs["a"])]


def distributed(inputs):
    return [layers.TimeDistributed(normalizer())(layers.Reshape((3, 1))(inputs["a"]))]


# Of each network, and for each of its normalisers: what it is fed of OBSERVATION.
TABLE = {
    each: {"one": [A], "two": [B]},
    swapped: {"one": [B, A]},
    subset: {"one": [B, None]},
    shared: {"one": [np.concatenate([A, B])]},
    after_others: {"one": [np.concatenate([B, 2 * A], -1).reshape(-1, 3, 2)]},
    one_after_another: {"one": [A], "two": [np.clip(2 * A, -20, 20)]},
    within: {"one": [B]},
    nested: {"one": [A]},
    distributed: {"one": [A.reshape(-1, 1)]},
}


def network(make, outputs, *more):
    inputs = parts()
    vectors = [layers.Flatten()(vector) for vector in tf.nest.flatten(make(inputs))]
    value = layers.Dense(outputs)(layers.Concatenate()([*vectors, inputs["a"], *more]))
    return keras.Model([inputs, *more] if more else inputs, value)


def check(agent, expected):
    found = agent.observation_normalizers
    assert sorted({layer.name for layer in found}) == sorted(expected)
    for layer in found:
        for mean, variance, fed in zip(
            layer.means, layer.variances, expected[layer.name], strict=True
        ):
            if fed is not None:
                np.testing.assert_allclose(mean, fed.mean(axis=0), rtol=1e-5)
                np.testing.assert_allclose(variance, fed.var(axis=0), rtol=1e-4)


@pytest.mark.regression(37)
@pytest.mark.parametrize("make", TABLE, ids=lambda make: make.__name__)
@pytest.mark.table
def test_each_is_adapted_to_what_it_is_fed(make, tiny_env):
    if make is one_after_another:  # The first batch goes through the first as it was.
        expected = {**TABLE[make], "two": [2 * np.clip(A, -10, 10)]}
    else:
        expected = TABLE[make]
    agent = kerasrl.DQN(network(make, 2))
    agent.build(tiny_env(PARTS))
    agent.adapt(OBSERVATION)
    check(agent, expected)
    assert len(agent.targets) == 1
    np.testing.assert_array_equal(
        agent.target_network(OBSERVATION), agent.q_network(OBSERVATION, training=False)
    )


@pytest.mark.regression(37)
@pytest.mark.parametrize("name", ["SAC", "TD3", "DDPG", "D4PG"])
@pytest.mark.table
def test_those_of_actors_critics_and_twins_are_adapted(name, tiny_env):
    actor = network(each, 4 if name == "SAC" else 2)
    critic = network(each, 51 if name == "D4PG" else 1, keras.Input((2,)))
    agent = getattr(kerasrl, name)(actor, critic)
    agent.build(tiny_env(PARTS, BOX))
    agent.adapt(OBSERVATION)
    assert len(agent.observation_normalizers) == (6 if name in ("SAC", "TD3") else 4)
    check(agent, TABLE[each])
    inputs = [OBSERVATION, np.zeros((64, 2), np.float32)]
    np.testing.assert_array_equal(agent.target_critic(inputs), agent.critic(inputs))


@pytest.mark.regression(37)
@pytest.mark.parametrize("name", ["DQN", "PPO"])
@pytest.mark.table
def test_named_inputs_are_normalised_while_training(name, tiny_env, small_replay):
    if name == "DQN":
        agent = kerasrl.DQN(network(each, 2))
        arguments = {"callbacks": [Collect(1, 40, updates_per_turn=1)], "replay": small_replay()}
    else:
        agent = kerasrl.PPO(network(each, 2), network(each, 1), update_epochs=1)
        arguments = {"callbacks": [CollectRollouts(length=8)]}
    agent.compile(run_eagerly=True)
    agent.fit(tiny_env(PARTS), batch_size=8, steps_per_epoch=2, verbose=0, **arguments)
    counts = {int(layer.count) for layer in agent.observation_normalizers}
    assert counts == ({41} if name == "DQN" else {8})


@pytest.mark.regression(37)
def test_one_normaliser_in_two_networks_counts_once(tiny_env):
    one, inputs = normalizer(), keras.Input((4,))
    networks = [keras.Model(inputs, layers.Dense(n)(one(inputs))) for n in (2, 1)]
    agent = kerasrl.PPO(*networks)
    agent.build(tiny_env())
    agent.adapt(np.ones((5, 4), np.float32))
    assert int(one.count) == 5


@pytest.mark.regression(37)
def test_what_depends_on_the_action_is_refused(tiny_env):
    inputs = [keras.Input((4,)), keras.Input((2,))]
    joint = normalizer()(layers.Concatenate()(inputs))
    agent = kerasrl.SAC(critic=keras.Model(inputs, layers.Dense(1)(joint)))
    with pytest.raises(NetworkError, match="one is fed what depends on the action"):
        agent.build(tiny_env(action_space=BOX))
    assert not agent.built


@registered
class Looped(layers.Layer):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.normalize = normalizer()

    def call(self, inputs):
        return tf.map_fn(lambda row: self.normalize(row[tf.newaxis])[0], inputs)


@pytest.mark.regression(37)
def test_a_normaliser_in_a_loop_is_refused(tiny_env):
    agent = kerasrl.DQN(keras.Sequential([keras.Input((4,)), Looped(), layers.Dense(2)]))
    with pytest.raises(NetworkError, match="one normalises within a loop"):
        agent.build(tiny_env())


class TwoNetworks(kerasrl.DQN):
    """Has a network that `policy` does not call."""

    def build_networks(self):
        super().build_networks()
        self.other = keras.Sequential([keras.Input((2,)), normalizer(), layers.Dense(1)])


class Feeding(TwoNetworks):
    def feed(self, observation, action):
        super().feed(observation, action)
        self.other(observation[:, 1:3])


@pytest.mark.regression(37)
def test_an_agent_says_what_its_other_networks_are_fed(tiny_env):
    with pytest.raises(NetworkError, match=r"nothing says what one is fed.*feed\(observation"):
        TwoNetworks().build(tiny_env())
    agent = Feeding(normalize_observations=True)
    agent.build(tiny_env())
    agent.adapt(np.tile(np.float32([1, 2, 3, 4]), (5, 1)))
    means = {layer.name: list(layer.means[0].numpy()) for layer in agent.observation_normalizers}
    assert means.pop("one") == [2, 3]
    assert list(means.values()) == [[1, 2, 3, 4]]


def test_default_networks_need_no_pass_through_them(tiny_env):
    agent = kerasrl.DQN(normalize_observations=True)
    agent.build(tiny_env(PARTS))
    agent.adapt(OBSERVATION)
    (layer,) = agent.observation_normalizers
    np.testing.assert_allclose(layer.means[0], A.mean(axis=0), rtol=1e-5)
    inputs, features = observation_features(PARTS, normalize=True)
    assert MLP((2,))(features).shape == (None, 2) and set(inputs) == {"a", "b", "c"}


def test_an_agent_that_is_not_built_cannot_adapt():
    with pytest.raises(AgentStateError, match=r"DQN is not built. Call build\(env\) first"):
        kerasrl.DQN().adapt(np.zeros((1, 4), np.float32))
