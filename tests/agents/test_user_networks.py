"""Networks that the user brings."""

import gymnasium as gym
import keras
import numpy as np
import pytest
import tensorflow as tf

import kerasrl
from kerasrl.errors import NetworkError

PARTS = gym.spaces.Dict(
    {"speed": gym.spaces.Box(-1, 1, (2,), np.float32), "place": gym.spaces.Box(-1, 1, (3,))}
)
BOX = gym.spaces.Box(-1, 1, (2,), np.float32)
Dense, Concatenate = keras.layers.Dense, keras.layers.Concatenate


@keras.saving.register_keras_serializable("tests")
class Subclassed(keras.Model):
    """Takes a dict of observations, or that and an action."""

    def __init__(self, outputs, **kwargs):
        super().__init__(**kwargs)
        self.outputs_ = outputs
        self.concatenate = Concatenate()
        self.dense = Dense(outputs)

    def call(self, inputs):
        return self.dense(self.concatenate(tf.nest.flatten(inputs)))

    def get_config(self):
        return {"outputs": self.outputs_, "name": self.name}


class NoConfig(keras.Model):
    def __init__(self, dense):
        super().__init__()
        self.dense = dense

    def call(self, inputs):
        return self.dense(inputs)


def parts():
    return {"speed": keras.Input((2,), name="speed"), "place": keras.Input((3,), name="place")}


def with_dict_inputs(outputs):
    inputs = parts()
    return keras.Model(inputs, Dense(outputs)(Concatenate()(list(inputs.values()))))


def with_a_list_of_named_inputs(outputs):
    inputs = [keras.Input((3,), name="place"), keras.Input((2,), name="speed")]
    return keras.Model(inputs, Dense(outputs)(Concatenate()(inputs)))


def critic_with_dict_inputs(outputs):
    inputs, action = parts(), keras.Input((2,), name="action")
    value = Dense(outputs)(Concatenate()([*inputs.values(), action]))
    return keras.Model([inputs, action], value)


def critic_with_a_list_of_named_inputs(outputs):
    inputs = [keras.Input((3,), name="place"), keras.Input((2,), name="speed"), keras.Input((2,))]
    return keras.Model(inputs, Dense(outputs)(Concatenate()(inputs)))


def check_trains(agent, batches, env):
    agent.build(env)
    agent.compile(run_eagerly=True)
    weights = [target.network.weights for target in agent.targets]
    before = [[w.numpy() for w in of_one] for of_one in weights]
    history = agent.fit(
        batches(agent, count=2), callbacks=[kerasrl.callbacks.TargetUpdate()], verbose=0
    ).history
    assert np.isfinite(history["loss"]).all()
    for of_one, b in zip(weights, before, strict=True):
        assert any((v != w.numpy()).any() for v, w in zip(b, of_one, strict=True))


@pytest.mark.parametrize(
    "make", [with_dict_inputs, with_a_list_of_named_inputs, Subclassed], ids=lambda f: f.__name__
)
def test_dqn_takes_networks_of_several_inputs(make, batches, tiny_env):
    check_trains(kerasrl.DQN(make(2), double=True), batches, tiny_env(PARTS))


# What the actor puts out for two actions, what the critic, and what the critic of the agent.
ACTOR_CRITICS = {
    kerasrl.SAC: (4, 1, 2),
    kerasrl.DDPG: (2, 1, 1),
    kerasrl.TD3: (2, 1, 2),
    kerasrl.D4PG: (2, 51, 51),
}


@pytest.mark.parametrize("agent_class", ACTOR_CRITICS)
@pytest.mark.parametrize(
    ("make_actor", "make_critic"),
    [
        (with_dict_inputs, critic_with_dict_inputs),
        (with_a_list_of_named_inputs, critic_with_a_list_of_named_inputs),
        (Subclassed, Subclassed),
    ],
    ids=["dict", "list", "subclassed"],
)
@pytest.mark.table
def test_actor_critics_take_networks_of_several_inputs(
    agent_class, make_actor, make_critic, batches, tiny_env
):
    parameters, outputs, values = ACTOR_CRITICS[agent_class]
    # The actor of TD3 is updated at the second step.
    agent = agent_class(make_actor(parameters), make_critic(outputs))
    check_trains(agent, batches, tiny_env(PARTS, BOX))
    observation = {"place": tf.zeros((3, 3)), "speed": tf.zeros((3, 2))}
    assert agent.critic([observation, tf.zeros((3, 2))]).shape == (3, values)


def test_named_inputs_are_matched_by_name_not_by_order(tiny_env):
    inputs = [
        keras.Input((2,), name="speed"),
        keras.Input((3,), name="place"),
    ]  # tf.nest: place first.
    agent = kerasrl.DQN(keras.Model(inputs, inputs[0]))
    agent.build(tiny_env(PARTS))
    observation = {"place": np.zeros((2, 3), "f"), "speed": np.float32([[0, 1], [1, 0]])}
    np.testing.assert_array_equal(agent.predict(observation, verbose=0), [1, 0])


def test_the_networks_of_the_user_are_the_ones_that_are_trained(make_agent, batches, tiny_env):
    q_network = keras.Sequential([keras.Input((4,)), Dense(2)])
    agent = kerasrl.DQN(q_network)
    agent.build(tiny_env())
    agent.compile(keras.optimizers.SGD(0.1), run_eagerly=True)
    before = q_network.get_weights()
    agent.fit(batches(agent), verbose=0)
    assert agent.q_network is q_network
    assert (before[1] != q_network.get_weights()[1]).any()


def test_a_sequential_network_without_an_input_is_built_by_the_agent(batches, tiny_env):
    agent = kerasrl.DQN(keras.Sequential([Dense(8), Dense(2)]))
    check_trains(agent, batches, tiny_env())


def test_a_sequential_network_without_an_input_is_built_for_any_number(tiny_env):
    layers = [keras.layers.Dense(8), keras.layers.Dense(2)]
    agent = kerasrl.DQN(keras.Sequential(layers))
    agent.build(tiny_env())
    assert agent.q_network.input_shape == (None, 4)
    assert agent.target_network.network.input_shape == (None, 4)


def test_layers_with_a_state_of_their_own_work(batches, tiny_env):
    layers = [keras.Input((4,)), keras.layers.BatchNormalization(), keras.layers.Dropout(0.5)]
    check_trains(kerasrl.DQN(keras.Sequential([*layers, Dense(2)])), batches, tiny_env())


@pytest.mark.parametrize("layer", ["unregistered", "lambda"])
@pytest.mark.parametrize("kind", ["dqn", "sac", "ddpg"])
@pytest.mark.table
def test_layers_need_not_be_registered(batches, tiny_env, kind, layer):
    class Halve(keras.layers.Layer):
        def call(self, inputs):
            return inputs / 2

    halve = Halve() if layer == "unregistered" else keras.layers.Lambda(lambda x: x / 2)
    if kind == "dqn":
        agent, env = kerasrl.DQN(keras.Sequential([keras.Input((4,)), halve, Dense(2)])), tiny_env()
    elif kind == "ddpg":
        actor = keras.Sequential([keras.Input((4,)), halve, Dense(2)])
        agent, env = kerasrl.DDPG(actor), tiny_env(action_space=BOX)
    else:
        inputs = [keras.Input((4,)), keras.Input((2,))]
        critic = keras.Model(inputs, Dense(1)(halve(Concatenate()(inputs))))
        agent, env = kerasrl.SAC(critic=critic), tiny_env(action_space=BOX)
    check_trains(agent, batches, env)


@pytest.mark.parametrize(
    ("make", "rule"),
    [
        (
            lambda: kerasrl.DQN(keras.Sequential([keras.Input((4,)), Dense(3)])),
            r"q_network must map float32\[None, 4\] to a float tensor of shape \[None, 2\]; "
            r"received float32\[None, 3\]",
        ),
        (
            lambda: kerasrl.DQN(keras.Sequential([keras.Input((5,)), Dense(2)])),
            r"q_network must map float32\[None, 4\] to .*; calling it failed with",
        ),
        (
            lambda: kerasrl.DQN(
                keras.Sequential([keras.Input((4,)), keras.layers.RepeatVector(2)])
            ),
            r"shape \[None, 2\]; received float32\[None, 2, 4\]",
        ),
    ],
    ids=["outputs", "inputs", "rank"],
)
def test_dqn_says_what_its_network_must_be(make, rule, tiny_env):
    with pytest.raises(NetworkError, match=rule):
        make().build(tiny_env())


@pytest.mark.parametrize(
    ("networks", "rule"),
    [
        (
            lambda: {"actor": keras.Sequential([keras.Input((4,)), Dense(2)])},
            r"actor must map float32\[None, 4\] to a float tensor of shape \[None, 4\]; "
            r"received float32\[None, 2\]",
        ),
        (
            lambda: {"critic": keras.Sequential([keras.Input((4,)), Dense(1)])},
            r"critic must map .*float32\[None, 4\].*float32\[None, 2\].* to a float tensor of "
            r"shape \[None, 1\]; calling it failed",
        ),
        (
            lambda: {"critic": with_wide_output()},
            r"critic must map .*shape \[None, 1\]; received float32\[None, 2\]",
        ),
    ],
    ids=["actor", "critic inputs", "critic outputs"],
)
def test_sac_says_what_its_networks_must_be(networks, rule, tiny_env):
    with pytest.raises(NetworkError, match=rule):
        kerasrl.SAC(**networks()).build(tiny_env(action_space=BOX))


@pytest.mark.parametrize("agent_class", [kerasrl.DDPG, kerasrl.TD3, kerasrl.D4PG])
@pytest.mark.table
def test_actors_without_a_distribution_say_what_their_networks_must_be(agent_class, tiny_env):
    def refused(**networks):
        agent = agent_class(**networks)
        with pytest.raises(NetworkError) as raised:
            agent.build(tiny_env(action_space=BOX))
        assert not agent.built
        return str(raised.value)

    for actor in ([Dense(4)], [Dense(2), keras.layers.RepeatVector(3)]):
        message = refused(actor=keras.Sequential([keras.Input((4,)), *actor]))
        assert "actor must map float32[None, 4] to a float tensor of shape [None, 2]" in message
    message = refused(actor=keras.Sequential([keras.Input((5,)), Dense(2)]))
    assert "calling it failed with" in message
    outputs = ACTOR_CRITICS[agent_class][1]
    message = refused(critic=with_wide_output())
    assert f"to a float tensor of shape [None, {outputs}]; received float32[None, 2]" in message
    message = refused(critic=keras.Sequential([keras.Input((4,)), Dense(outputs)]))
    assert "critic must map " in message and "calling it failed with" in message


def with_wide_output():
    inputs = [keras.Input((4,)), keras.Input((2,))]
    return keras.Model(inputs, Dense(2)(Concatenate()(inputs)))


def test_integer_outputs_are_refused(tiny_env):
    inputs = keras.Input((4,))
    whole = keras.layers.Lambda(lambda x: tf.cast(x, tf.int32), dtype="int32", autocast=False)
    network = keras.Model(inputs, whole(Dense(2)(inputs)))
    with pytest.raises(NetworkError, match="q_network must map .* to a float tensor.*int32"):
        kerasrl.DQN(network).build(tiny_env())


def test_a_network_that_cannot_be_copied_says_what_to_do(tiny_env):
    with pytest.raises(NetworkError, match=r"must be copied.*get_config\(\)"):
        kerasrl.DQN(NoConfig(Dense(2))).build(tiny_env())


def test_a_failed_build_leaves_the_agent_unbuilt(tiny_env):
    agent = kerasrl.DQN(keras.Sequential([keras.Input((4,)), Dense(3)]))
    with pytest.raises(NetworkError):
        agent.build(tiny_env())
    assert not agent.built
    agent.build(tiny_env(action_space=gym.spaces.Discrete(3)))
    assert agent.built


def test_a_twin_is_another_one_under_the_seed_that_the_critic_was_made_under(tiny_env):
    keras.utils.set_random_seed(0)
    inputs = [keras.Input((4,)), keras.Input((2,))]
    agent = kerasrl.TD3(critic=keras.Model(inputs, Dense(1)(Concatenate()(inputs))))
    agent.compile(run_eagerly=True)
    keras.utils.set_random_seed(0)
    agent.actor = keras.Sequential([keras.Input((4,)), Dense(2, kernel_initializer="zeros")])
    agent.build(tiny_env(action_space=BOX))
    one, other = (w for w in agent.critic.trainable_weights if w.shape == (6, 1))
    assert (one.numpy() != other.numpy()).any()
