import gymnasium as gym
import keras
import numpy as np
import pytest
import tensorflow as tf

import kerasrl
from kerasrl.callbacks import Collect, TargetUpdate
from kerasrl.errors import NetworkError
from kerasrl.networks import DiscreteValuedHead, all_layers

RATE = 0.1
SPACE = gym.spaces.Box(np.float32([-2, 0]), np.float32([2, 1]))
SCALE, OFFSET = [2, 0.5], [0, 0.5]
ATOMS = np.array([-2.0, -1.0, 0.0, 1.0, 2.0])


def doubles(weights):
    return [np.asarray(w, np.float64) for w in weights]


def linear(weights, *inputs):
    kernel, bias = weights
    return np.concatenate(inputs, -1) @ kernel + bias


def softmax(logits):
    e = np.exp(logits - logits.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def unit(action):
    return (action - OFFSET) / SCALE


def linear_agent(tiny_env, **arguments):
    """One whose actor and critic have no hidden layer, with five atoms."""
    actor = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    inputs = [keras.Input((3,)), keras.Input((2,))]
    logits = keras.layers.Dense(5)(keras.layers.Concatenate()(inputs))
    critic = keras.Model(inputs, logits)
    agent = kerasrl.D4PG(actor, critic, v_min=-2, v_max=2, num_atoms=5, discount=0.9, **arguments)
    agent.build(tiny_env(gym.spaces.Box(-1, 1, (3,), np.float32), SPACE))
    agent.compile(keras.optimizers.SGD(RATE), keras.optimizers.SGD(RATE), run_eagerly=True)
    rng = np.random.default_rng(1)
    for network in (agent.actor, agent.critic, *(target.network for target in agent.targets)):
        network.set_weights([rng.normal(scale=0.5, size=w.shape) for w in network.get_weights()])
    return agent


@pytest.mark.parametrize("clip", [None, 0.38], ids=["unclipped", "clipped"])
@pytest.mark.table
def test_train_step_equals_a_numpy_twin(tiny_env, batches, clip):
    agent = linear_agent(tiny_env, dqda_clipping=clip)
    data = batches(agent, batch_size=16)
    b = {key: np.float64(value) for key, value in next(iter(data)).items()}
    actor, critic = doubles(agent.actor.get_weights()), doubles(agent.critic.get_weights())
    target_actor, target_critic = (
        doubles(target.network.get_weights())
        for target in (agent.target_actor, agent.target_critic)
    )

    logs = {name: value for name, (value,) in agent.fit(data, verbose=0).history.items()}

    action_t = unit(linear(target_actor, b["next_observation"]))
    logits_t = linear(target_critic, b["next_observation"], action_t)
    logits_tm1 = linear(critic, b["observation"], unit(b["action"]))
    expected = kerasrl.losses.categorical_td_loss(
        np.float32(logits_tm1),
        np.float32(b["reward"]),
        np.float32(0.9 * b["discount"]),
        np.float32(logits_t),
        np.float32(ATOMS),
    )
    np.testing.assert_allclose(logs["critic_loss"], np.mean(expected), rtol=1e-4)
    np.testing.assert_allclose(logs["q_value"], (softmax(logits_tm1) @ ATOMS).mean(), rtol=1e-4)
    # The atoms are 1 apart: each has the share of what is less than 1 away.
    returns = b["reward"][:, None] + 0.9 * b["discount"][:, None] * ATOMS
    distance = np.abs(np.clip(returns, -2, 2)[:, :, None] - ATOMS)
    target = np.einsum("bi,bij->bj", softmax(logits_t), np.maximum(1 - distance, 0))
    of_logits = (softmax(logits_tm1) - target) / 16
    inputs = np.concatenate([b["observation"], unit(b["action"])], -1)
    updated = doubles(agent.critic.get_weights())
    for new, old, gradient in zip(
        updated, critic, [inputs.T @ of_logits, of_logits.sum(0)], strict=True
    ):
        np.testing.assert_allclose(new, old - RATE * gradient, atol=1e-6)

    # The actor is trained against the critic as it is after its own step.
    probabilities = softmax(
        linear(updated, b["observation"], unit(linear(actor, b["observation"])))
    )
    q = probabilities @ ATOMS
    np.testing.assert_allclose(logs["actor_loss"], -q.mean(), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(logs["loss"], logs["critic_loss"] + logs["actor_loss"], rtol=1e-5)
    dqda = (probabilities * (ATOMS - q[:, None])) @ updated[0][3:].T
    if clip:
        norm = np.linalg.norm(dqda, axis=-1, keepdims=True)
        assert (norm > clip).any() and (norm < clip).any()
        dqda *= np.minimum(1, clip / norm)
    of_action = -dqda / SCALE / 16
    gradients = [b["observation"].T @ of_action, of_action.sum(0)]
    for new, old, gradient in zip(agent.actor.get_weights(), actor, gradients, strict=True):
        np.testing.assert_allclose(new, old - RATE * gradient, atol=1e-6)


def test_both_targets_are_copied_when_they_are_due(tiny_env, batches):
    agent = linear_agent(tiny_env)
    pairs = [(agent.actor, agent.target_actor), (agent.critic, agent.target_critic)]
    before = [target.network.get_weights() for _, target in pairs]
    agent.fit(batches(agent), callbacks=[TargetUpdate(period=2)], verbose=0)
    for (_, target), old in zip(pairs, before, strict=True):
        np.testing.assert_array_equal(target.network.get_weights()[0], old[0])
    agent.fit(batches(agent), callbacks=[TargetUpdate(period=2)], verbose=0)
    for source, target in pairs:
        np.testing.assert_array_equal(target.network.get_weights()[0], source.get_weights()[0])


def critic_with_head(wrap=lambda head: head, **head):
    inputs = [keras.Input((4,)), keras.Input((2,))]
    head = wrap(DiscreteValuedHead(**(HEAD | head)))
    return keras.Model(inputs, head(keras.layers.Concatenate()(inputs)))


HEAD = {"minimum": -10, "maximum": 10, "num_atoms": 51}
PLACES = {
    "output": lambda head: head,
    "nested": lambda head: keras.Sequential([keras.layers.Dense(3), head]),
    "in a layer": lambda head: CriticInLayer(head),
}


@keras.saving.register_keras_serializable("tests")
class CriticInLayer(keras.layers.Layer):
    def __init__(self, head, **kwargs):
        super().__init__(**kwargs)
        self.parts = [head]

    def call(self, inputs):
        return self.parts[0](inputs)

    def get_config(self):
        head = keras.saving.serialize_keras_object(self.parts[0])
        return {**super().get_config(), "head": head}

    @classmethod
    def from_config(cls, config):
        return cls(keras.saving.deserialize_keras_object(config.pop("head")), **config)


@pytest.mark.regression(5)
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.table
def test_the_atoms_are_those_of_the_critics_head(tiny_env, batches, place):
    agent = kerasrl.D4PG(critic=critic_with_head(PLACES[place]))
    assert (agent.v_min, agent.v_max, agent.num_atoms) == (-10, 10, 51)
    agent.build(tiny_env(action_space=SPACE))
    agent.compile(run_eagerly=True)
    logs = agent.fit(batches(agent), verbose=0).history
    data = next(iter(batches(agent)))
    action = agent._scale.to_unit(data["action"])
    (head,) = [part for part in all_layers(agent.critic) if isinstance(part, DiscreteValuedHead)]
    q = head.mean(agent.critic([data["observation"], action]))
    # With a step of 1e-4 the logged values are those of now, but for a little.
    np.testing.assert_allclose(logs["q_value"][0], np.mean(q), atol=0.1)
    assert agent.get_config()["v_max"] == 10


@pytest.mark.regression(5)
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("arguments", [{"v_min": -150, "v_max": 150}, {"v_max": 20}])
@pytest.mark.table
def test_other_atoms_than_the_heads_are_refused(tiny_env, place, arguments):
    agent = kerasrl.D4PG(critic=critic_with_head(PLACES[place]), **arguments)
    message = r"51 atoms from -10.0 to 10.0, and the agent 51 from -1?5?0.* Leave v_min"
    with pytest.raises(NetworkError, match=message):
        agent.build(tiny_env(action_space=SPACE))


@pytest.mark.regression(5)
def test_the_heads_atoms_are_saved(tiny_env, tmp_path):
    agent = kerasrl.D4PG(critic=critic_with_head(num_atoms=7), v_min=-10)
    agent.build(tiny_env(action_space=SPACE))
    agent.save(tmp_path / "agent.keras")
    loaded = kerasrl.load(tmp_path / "agent.keras")
    assert (loaded.v_min, loaded.v_max, loaded.num_atoms) == (-10, 10, 7)
    given = kerasrl.D4PG(v_max=30)
    assert (given.v_min, given.v_max, given.num_atoms) == (-150, 30, 51)


def test_the_expected_return_is_that_of_the_head(tiny_env):
    agent = kerasrl.D4PG(v_min=-1, v_max=4, num_atoms=7)
    agent.build(tiny_env(action_space=SPACE))
    (head,) = [layer for layer in agent.critic.layers if isinstance(layer, DiscreteValuedHead)]
    np.testing.assert_allclose(head.atoms, np.linspace(-1, 4, 7), rtol=1e-6)
    head.logits.bias.assign([-50, -50, 50, -50, -50, -50, -50])
    agent.compile(keras.optimizers.SGD(0.0), keras.optimizers.SGD(0.0), run_eagerly=True)
    batch = {
        "observation": np.zeros((2, 4), np.float32),
        "action": np.zeros((2, 2), np.float32),
        "reward": np.zeros(2, np.float32),
        "discount": np.zeros(2, np.float32),
        "next_observation": np.zeros((2, 4), np.float32),
    }
    history = agent.fit(tf.data.Dataset.from_tensors(batch), verbose=0).history
    third = -1 + 2 * 5 / 6
    np.testing.assert_allclose(history["q_value"], [third], rtol=1e-4)
    np.testing.assert_allclose(history["actor_loss"], [-third], rtol=1e-4)


def test_the_actor_starts_in_the_middle_of_its_range(tiny_env):
    agent = kerasrl.D4PG()
    agent.build(tiny_env(action_space=SPACE))
    observation = np.random.default_rng(0).normal(size=(64, 4)).astype(np.float32)
    action = unit(agent.predict(observation, verbose=0))
    assert 0 < np.abs(action).max() < 0.1


def test_the_replay_holds_discounted_sums_of_n_rewards(tiny_env):
    agent = kerasrl.D4PG(n_step=3, discount=0.5)
    agent.compile(run_eagerly=True)
    env = tiny_env(action_space=SPACE, length=10)  # A reward of 1 a step, then it terminates.
    with kerasrl.replay.Uniform(512) as replay:
        agent.fit(
            env,
            steps_per_epoch=1,
            batch_size=8,
            replay=replay,
            callbacks=[Collect(warmup_steps=128)],
            verbose=0,
        )
        (batch,) = replay.dataset(512).take(1)
    found = set(zip(batch["reward"].numpy(), batch["discount"].numpy(), strict=True))
    # The train step discounts once more.
    assert found == {(1.75, 0.25), (1.75, 0.0), (1.5, 0.0), (1.0, 0.0)}


def test_five_rewards_are_summed_by_default():
    assert kerasrl.D4PG().n_step == 5


@pytest.mark.regression(42)
def test_gradients_are_clipped_as_in_the_tutorial_by_default():
    agent = kerasrl.D4PG()
    agent.compile()
    for optimizer in (agent.actor_optimizer, agent.critic_optimizer):
        assert optimizer.global_clipnorm == 40
        np.testing.assert_allclose(optimizer.learning_rate, 1e-4)
