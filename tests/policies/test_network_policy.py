"""The policy that an agent makes: greedy or exploring, with a state, converted once."""

import gc
import weakref
from functools import partial

import gymnasium as gym
import keras
import numpy as np
import pytest
import tensorflow as tf
from recurrent_agent import UNITS, RecurrentAgent

import kerasrl
from kerasrl.callbacks import Collect, Video
from kerasrl.envs import EnvSpec
from kerasrl.envs.spec import tensor_spec
from kerasrl.errors import ArgumentError, NetworkError
from kerasrl.networks import all_layers
from kerasrl.policies import PolicySnapshot
from kerasrl.policies.conversion import Conversion

CART_POLE = EnvSpec(gym.make("CartPole-v1"))
X = np.random.default_rng(0).normal(size=(5, 3, 4)).astype(np.float32)


@pytest.fixture
def conversions(monkeypatch):
    """The graphs that were converted."""
    done, convert = [], Conversion._converted
    monkeypatch.setattr(Conversion, "_converted", lambda one: done.append(one) or convert(one))
    return done


@pytest.fixture(scope="module")
def recurrent():
    agent = RecurrentAgent()
    agent.build(CART_POLE)
    return agent


def test_stepping_by_hand():
    env = gym.make("CartPole-v1")
    agent = kerasrl.DQN()
    policy = agent.make_policy(EnvSpec(env))
    observation, _ = env.reset(seed=0)
    action = policy([observation[np.newaxis]]).action[0]
    assert action == agent.predict_on_batch(observation[np.newaxis])[0]
    env.step(action)


def test_exploring_is_the_agents_own():
    agent = kerasrl.DQN()
    policy = agent.make_policy(CART_POLE, 3, np.random.default_rng(2))
    rng = np.random.default_rng(2)
    for x in X:
        acted = policy([x])
        np.testing.assert_allclose(acted.output, agent.policy(x), atol=1e-6)
        np.testing.assert_array_equal(acted.action, agent.explore(acted.output, rng))
        np.testing.assert_array_equal(policy.output([x]), acted.output)
    assert policy.spec.output == tf.TensorSpec((2,), tf.float32)
    assert (policy.spec.state, policy.spec.info, acted.state, acted.info) == ((), {}, [], {})


def test_observations_of_another_shape_or_dtype_are_refused():
    policy = kerasrl.DQN().make_policy(CART_POLE)
    for wrong in ([X[0]], [X[0, 0]], [X[0, :1].astype(float)], []):
        with pytest.raises(ArgumentError, match="(?s)acts on a list of .* received .*newaxis"):
            policy(wrong)


NESTED = {
    "float32": lambda x: tf.reduce_sum(x, axis=1),
    "matrix": lambda x: tf.reshape(x, [-1, 2, 2]) * 3,
    "bool": lambda x: x > 0,
    "uint8": lambda x: tf.cast(tf.abs(x) * 10, tf.uint8),
    "int32": lambda x: tf.cast(x * 2e8, tf.int32),
    "int64": lambda x: tf.cast(x * 1e6, tf.int64) + 2**53 + 1,
}


@pytest.mark.filterwarnings("error::UserWarning")  # That it does not convert.
@pytest.mark.parametrize("names", [["float32", "matrix"], ["int64", "float32", "int32"], NESTED])
def test_a_nest_of_outputs_is_computed_by_one_call(names):
    def policy(x):
        return {"of": {name: NESTED[name](x) for name in names}, "again": (x, x + 1)}

    snapshot = PolicySnapshot(policy, tensor_spec(CART_POLE.observation_space), 3)
    for x in X:
        expected, received = policy(tf.constant(x)), snapshot([x])
        tf.nest.assert_same_structure(received, expected)
        for name in names:  # Integers are exact.
            assert received["of"][name].dtype == expected["of"][name].dtype
            compare = np.testing.assert_array_equal
            if "int" not in name:
                compare = partial(np.testing.assert_allclose, rtol=1e-6)
            compare(received["of"][name], expected["of"][name].numpy())
        np.testing.assert_array_equal(received["again"], [x, x + 1])


def test_an_output_that_is_not_of_every_environment_is_refused():
    spec = tensor_spec(CART_POLE.observation_space)
    with pytest.raises(NetworkError, match=r"have the shape \[N, ...\], N=3 here"):
        PolicySnapshot(lambda x: (x, tf.reduce_sum(x)), spec, 3)


def test_a_next_state_that_is_not_like_the_state_is_refused():
    spec = tensor_spec(CART_POLE.observation_space)
    for policy in (lambda x, state: (x, state[:, 1:]), lambda x, state: x):
        with pytest.raises(
            NetworkError, match="a policy with a recurrent state must return a pair"
        ):
            PolicySnapshot(policy, spec, 3, tf.TensorSpec((2,)))


@pytest.mark.filterwarnings("error::UserWarning")
@pytest.mark.parametrize("rng", [None, 1])
def test_the_state_goes_along_and_back_to_its_start(recurrent, rng):
    policy, state = (
        recurrent.make_policy(CART_POLE, 3, rng and np.random.default_rng(rng)),
        recurrent.begin(3),
    )
    for i, x in enumerate(X):
        acted = policy([x])
        for received, expected in zip(acted.state, state, strict=True):
            np.testing.assert_allclose(received, expected, atol=1e-6)
        output, state = recurrent.policy(x, state)
        if rng is None:
            np.testing.assert_array_equal(acted.action, output["best"])
        else:
            np.testing.assert_allclose(acted.output["q"], output["q"], atol=1e-6)
        if i == 2:
            where = np.array([False, True, False])
            policy.reset(where)
            state = tuple(
                tf.where(where[:, None], s, t)
                for s, t in zip(recurrent.begin(3), state, strict=True)
            )
    kept = policy.get_state()
    first = policy.output([X[0]])
    if rng is not None:
        np.testing.assert_array_equal(policy([X[0]]).output["q"], first["q"])
    again = policy([X[1]])
    policy.set_state(kept)
    policy([X[0]])
    np.testing.assert_array_equal(policy([X[1]]).state, again.state) if rng else None
    assert [leaf.shape for leaf in policy.spec.state] == [(UNITS,), (UNITS,)]


def test_weights_go_from_one_to_another_as_arrays():
    one, other = kerasrl.DQN(), kerasrl.DQN()
    giver, taker = (
        one.make_policy(CART_POLE, 3, np.random.default_rng(0)),
        other.make_policy(CART_POLE, 3, np.random.default_rng(0)),
    )
    one.epsilon.assign(0.25)
    giver.update()
    taker.set_weights(7, giver.weights()[1])
    np.testing.assert_array_equal(taker.output([X[0]]), giver.output([X[0]]))
    assert taker.version == 7
    taker.update()
    assert (taker.output([X[0]]) != giver.output([X[0]])).any()
    with pytest.raises(ArgumentError, match="weights must be those of this policy"):
        taker.set_weights(8, giver.weights()[1][1:])


@pytest.mark.thorough
def test_all_that_is_done_with_an_agent_converts_it_once(conversions, tmp_path):
    agent = kerasrl.DQN()
    agent.compile()
    collect = Collect(warmup_steps=64)
    video = Video(tmp_path, "CartPole-v1", max_episode_steps=500)
    agent.fit(
        "CartPole-v1",
        epochs=3,
        steps_per_epoch=4,
        validation_data="CartPole-v1",
        callbacks=[collect, video],
        verbose=0,
    )
    assert len(conversions) == 2  # What explores, and what is greedy.
    agent.evaluate("CartPole-v1", verbose=0)
    agent.film("CartPole-v1", tmp_path / "film.mp4")
    agent.fit("CartPole-v1", steps_per_epoch=4, callbacks=[collect], verbose=0)
    kerasrl.evaluate("CartPole-v1", agent)
    assert len(conversions) == 2
    agent.evaluate("CartPole-v1", num_envs=2, verbose=0)
    assert len(conversions) == 3


def test_loaded_weights_need_no_conversion(conversions, tmp_path):
    agent, other = kerasrl.DQN(), kerasrl.DQN()
    for each in (agent, other):
        each.make_policy(CART_POLE, 3, np.random.default_rng(0))
    other.save_weights(tmp_path / "other.weights.h5")
    agent.load_weights(tmp_path / "other.weights.h5")
    received = agent.make_policy(CART_POLE, 3, np.random.default_rng(0)).output([X[0]])
    np.testing.assert_allclose(received, other.policy(X[0]), atol=1e-6)
    assert len(conversions) == 2


@keras.saving.register_keras_serializable("tests")
class Scaled(kerasrl.DQN):
    factor = 1.0
    table = np.ones(2, np.float32)

    def policy(self, observation):
        q = tf.cast(self.q_network(observation), tf.float32)
        return q * self.factor * tf.constant(self.table)


def test_whatever_the_policy_depends_on_may_change(conversions):
    agent = Scaled()
    agent.make_policy(CART_POLE, 3, np.random.default_rng(0))

    def check(count):
        received = agent.make_policy(CART_POLE, 3, np.random.default_rng(0)).output([X[0]])
        np.testing.assert_allclose(received, agent.policy(X[0]), atol=1e-5)
        assert len(conversions) == count

    check(1)
    agent.factor = -3.0
    check(2)
    agent.table = np.float32([1, 5])
    check(3)
    agent.q_network.trainable = False
    check(3)
    agent.q_network = keras.models.clone_model(agent.q_network)
    check(4)
    inputs = keras.Input((4,))
    agent.q_network = keras.Model(inputs, keras.layers.Dense(2, dtype="mixed_float16")(inputs))
    received = agent.make_policy(CART_POLE, 3, np.random.default_rng(0)).output([X[0]])
    half = 2**-9  # A step of half precision in [2, 4); `output` makes values 15 times as large.
    np.testing.assert_allclose(received, agent.policy(X[0]), atol=15 * half)
    assert len(conversions) == 5


def test_neither_agents_nor_policies_are_held_on_to():
    agent = kerasrl.DQN()
    policy = agent.make_policy(CART_POLE, 3, np.random.default_rng(0))
    agent.evaluate("CartPole-v1", verbose=0)
    policy([X[0]])
    gone = weakref.ref(agent), weakref.ref(policy)
    del agent, policy
    keras.backend.clear_session()
    gc.collect()
    assert [reference() for reference in gone] == [None, None]


def test_what_was_converted_goes_into_no_file(tmp_path):
    agent = kerasrl.DQN()
    agent.make_policy(CART_POLE, 3)
    agent.save(tmp_path / "agent.keras")
    loaded = kerasrl.load(tmp_path / "agent.keras")
    assert len(all_layers(agent)) == len(all_layers(loaded))


class Informed(kerasrl.DQN):
    def info_spec(self):
        return {"greedy": tf.TensorSpec((), tf.bool)}

    def explore(self, output, rng):
        action = super().explore(output, rng)
        return action, {"greedy": action == output.argmax(axis=-1)}


def test_what_is_stored_beside_the_action():
    agent = Informed()
    agent.compile()
    policy = agent.make_policy(CART_POLE, 3, np.random.default_rng(0))
    acted = policy([X[0]])
    np.testing.assert_array_equal(
        acted.info["greedy"], acted.action == acted.output.argmax(axis=-1)
    )
    with kerasrl.replay.Uniform(64) as replay:
        collect = Collect(warmup_steps=64)
        agent.fit("CartPole-v1", steps_per_epoch=2, callbacks=[collect], replay=replay, verbose=0)
        (batch,) = replay.dataset(32).take(1)
    assert batch["greedy"].dtype == tf.bool
    agent.explore = lambda output, rng: rng.integers(2, size=3)
    with pytest.raises(ArgumentError, match=r"explore must return \(actions, info\)"):
        policy([X[0]])


def test_a_recurrent_agent_is_trained_by_collect(recurrent):
    recurrent.compile("adam")
    with kerasrl.replay.Uniform(64) as replay:
        recurrent.fit(
            "CartPole-v1",
            steps_per_epoch=8,
            num_envs=2,
            callbacks=[Collect(4, warmup_steps=200)],
            replay=replay,
            verbose=0,
        )
        batches = list(replay.dataset(16).take(64))  # Every row of its one block, 16 times.
    assert np.shape(batches[0]["state"]) == (2, 16, UNITS)
    states = np.concatenate([batch["state"] for batch in batches], axis=1)
    # Those of sequences that begin with their episode are the start, others are not.
    starts = (states == np.float32([0.5, -0.5])[:, None, None]).all(axis=(0, 2))
    assert 0 < starts.sum() < starts.size
