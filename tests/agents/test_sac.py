import gymnasium as gym
import keras
import numpy as np
import pytest
import tensorflow as tf

import kerasrl
from kerasrl.errors import ArgumentError, SpaceError

MODES = {"eager": {"run_eagerly": True}, "graph": {}, "xla": {"jit_compile": True}}
RATE = 0.1


@pytest.fixture(params=MODES)
def compiled(request):
    """Arguments of `compile` that run a step eagerly, in a graph, or compiled by XLA."""
    return MODES[request.param]


def dense(weights, x):
    kernel1, bias1, kernel2, bias2 = weights
    return np.tanh(x @ kernel1 + bias1) @ kernel2 + bias2


def doubles(weights):
    return [np.asarray(w, np.float64) for w in weights]


def critics(weights, observation, action):
    """Values of both critics, [B, 2]; their weights follow one another."""
    x = np.concatenate([observation, action], -1)
    return np.concatenate([dense(doubles(weights[i : i + 4]), x) for i in (0, 4)], -1)


def sample(weights, observation, noise):
    """An action in [-1, 1] and its log-probability, by the change of variables in float64."""
    mean, log_std = np.split(dense(weights, observation), 2, -1)
    log_std = np.clip(log_std, -20, 2)
    x = mean + np.exp(log_std) * noise
    normal = -0.5 * noise**2 - log_std - 0.5 * np.log(2 * np.pi)
    return np.tanh(x), (normal - np.log(1 - np.tanh(x) ** 2)).sum(-1)


def only_batch(dataset):
    return {key: np.float64(value) for key, value in next(iter(dataset)).items()}


@pytest.mark.parametrize("learn", [True, False], ids=["learned", "fixed"])
@pytest.mark.table
def test_train_step_equals_a_numpy_twin(make_agent, batches, compiled, learn):
    agent = make_agent(
        "sac", compiled, temperature=0.3, target_entropy=-1.5, learn_temperature=learn, discount=0.9
    )
    rng = np.random.default_rng(1)
    target = agent.target_critic.network
    target.set_weights([w + 0.3 * rng.normal(size=w.shape) for w in target.get_weights()])
    dataset = batches(agent, batch_size=16)
    b = only_batch(dataset)
    noise_t, noise_tm1 = (np.float64(agent.random_normal((16, 2), salt)) for salt in (0, 1))
    actor, critic = doubles(agent.actor.get_weights()), doubles(agent.critic.get_weights())
    action_t, log_prob_t = sample(actor, b["next_observation"], noise_t)
    v_t = critics(target.get_weights(), b["next_observation"], action_t).min(-1) - 0.3 * log_prob_t
    y = b["reward"] + 0.9 * b["discount"] * v_t
    error = critics(critic, b["observation"], b["action"]) - y[:, None]

    def actor_loss(bias, critic):
        action, log_prob = sample([*actor[:3], bias], b["observation"], noise_tm1)
        return np.mean(0.3 * log_prob - critics(critic, b["observation"], action).min(-1))

    history = agent.fit(dataset, verbose=0).history

    logs = {name: value for name, (value,) in history.items()}
    np.testing.assert_allclose(logs["critic_loss"], (0.5 * error**2).sum(-1).mean(), rtol=1e-4)
    updated = agent.critic.get_weights()
    for i in (0, 1):
        np.testing.assert_allclose(
            updated[4 * i + 3], critic[4 * i + 3] - RATE * error[:, i].mean(), atol=1e-5
        )
    # The actor is trained against the critics as they are after their own step.
    np.testing.assert_allclose(logs["actor_loss"], actor_loss(actor[3], updated), rtol=1e-4)
    gradient = [
        (actor_loss(actor[3] + h, updated) - actor_loss(actor[3] - h, updated)) / 2e-5
        for h in 1e-5 * np.eye(4)
    ]
    np.testing.assert_allclose(
        agent.actor.get_weights()[3], actor[3] - RATE * np.array(gradient), atol=1e-5
    )
    _, log_prob = sample(actor, b["observation"], noise_tm1)
    np.testing.assert_allclose(logs["entropy"], -log_prob.mean(), rtol=1e-4)
    temperature_loss = -np.log(0.3) * (log_prob - 1.5).mean() if learn else 0.0
    np.testing.assert_allclose(logs["temperature_loss"], temperature_loss, rtol=1e-4)
    log_temperature = np.log(0.3) + (RATE * (log_prob - 1.5).mean() if learn else 0.0)
    np.testing.assert_allclose(agent.log_temperature, log_temperature, rtol=1e-4)
    np.testing.assert_allclose(logs["temperature"], np.exp(log_temperature), rtol=1e-4)
    np.testing.assert_allclose(
        logs["loss"],
        logs["critic_loss"] + logs["actor_loss"] + logs["temperature_loss"],
        rtol=1e-5,
    )


def test_the_entropy_moves_to_its_target(make_agent, batches):
    for target_entropy, direction in ((-20.0, -1), (20.0, 1)):
        agent = make_agent("sac", target_entropy=target_entropy)
        agent.fit(batches(agent), verbose=0)
        assert np.sign(float(agent.log_temperature)) == direction


def test_the_target_entropy_is_minus_the_number_of_action_dimensions(tiny_env):
    agent = kerasrl.SAC()
    agent.build(tiny_env(action_space=gym.spaces.Box(-1, 1, (2, 3), np.float32)))
    assert agent.target_entropy == -6.0


def one_layer_agent(space, tiny_env):
    """An agent whose mean before tanh is the first observations themselves."""
    size = int(np.prod(space.shape))
    actor = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2 * size, use_bias=False)])
    agent = kerasrl.SAC(actor)
    agent.build(tiny_env(action_space=space))
    kernel = np.zeros((4, 2 * size), np.float32)
    kernel[np.arange(min(4, size)), np.arange(min(4, size))] = 1
    actor.set_weights([kernel])
    return agent


SCALED = gym.spaces.Box(
    np.float32([[-2, 0], [10, -1]]), np.float32([[2, 1], [30, 0]]), dtype=np.float32
)


@pytest.mark.table
def test_greedy_actions_have_the_bounds_and_the_shape_of_the_space(tiny_env, mode):
    agent = one_layer_agent(SCALED, tiny_env)
    observation = np.float32([[0, 0, 0, 0], [20, 20, 20, 20], [-20, -20, -20, -20]])
    middle = (SCALED.low + SCALED.high) / 2
    actions = mode(agent)(observation)
    np.testing.assert_allclose(actions, [middle, SCALED.high, SCALED.low], atol=1e-5)
    assert actions.dtype == tf.float32


def test_exploring_samples_the_squashed_gaussian_within_the_bounds(tiny_env):
    agent = one_layer_agent(SCALED, tiny_env)
    output = np.tile(np.float32([0.5, 0, 0, 0] + [np.log(0.3)] * 4), (20_000, 1))
    actions = agent.explore(output, np.random.default_rng(0))
    assert actions.shape == (20_000, 2, 2)
    assert actions.dtype == np.float32
    assert all(SCALED.contains(action) for action in actions[:100])
    normal = np.arctanh(actions[:, 0, 0] / 2)
    np.testing.assert_allclose([normal.mean(), normal.std()], [0.5, 0.3], atol=0.01)
    normal = np.arctanh((actions[:, 1, 0] - 20) / 10)
    np.testing.assert_allclose([normal.mean(), normal.std()], [0.0, 0.3], atol=0.01)


def test_the_critics_see_actions_between_minus_one_and_one(tiny_env, batches):
    seen = []

    # Registered, or the clone of a nested model fails; see test_networks_of_the_user.py.
    @keras.saving.register_keras_serializable("tests")
    class Spy(keras.layers.Layer):
        def call(self, inputs):
            tf.py_function(lambda action: seen.append(action.numpy()), [inputs], [])
            return tf.reduce_sum(inputs, -1, keepdims=True)

    observation, action = keras.Input((4,)), keras.Input((4,))
    value = Spy()(action) + keras.layers.Dense(1)(observation)
    agent = kerasrl.SAC(critic=keras.Model([observation, action], value))
    agent.build(tiny_env(action_space=SCALED))
    agent.compile(run_eagerly=True)
    corners = np.where(np.random.default_rng(0).random((8, 2, 2)) < 0.5, SCALED.low, SCALED.high)
    dataset = batches(agent).map(lambda b: {**b, "action": tf.constant(corners, tf.float32)})
    seen.clear()
    agent.fit(dataset, verbose=0)
    signs = np.where(corners == SCALED.high, 1, -1).reshape(8, 4)
    assert any(np.allclose(action, signs, atol=1e-6) for action in seen)
    assert all(np.abs(action).max() <= 1 + 1e-6 for action in seen)


def test_noise_is_standard_normal_and_another_one_for_every_draw_step_and_seed(make_agent):
    agent = make_agent("sac")
    draws = [agent.random_normal((5_000, 2), salt=0).numpy()]
    draws.append(agent.random_normal((5_000, 2), salt=1).numpy())
    agent.gradient_steps.assign_add(1)
    draws.append(agent.random_normal((5_000, 2), salt=0).numpy())
    agent.reseed(1)
    draws.append(agent.random_normal((5_000, 2), salt=0).numpy())
    for draw in draws:
        quantiles = np.quantile(draw, [0.025, 0.1587, 0.5, 0.8413, 0.975])
        np.testing.assert_allclose(quantiles, [-1.96, -1, 0, 1, 1.96], atol=0.08)
    correlation = np.corrcoef([draw.ravel() for draw in draws])
    assert np.abs(correlation - np.eye(4)).max() < 0.05
    agent.reseed(1)
    np.testing.assert_array_equal(agent.random_normal((5_000, 2), salt=0), draws[-1])


@pytest.mark.table
def test_noise_is_the_same_in_every_mode(make_agent, mode):
    agent = make_agent("sac")
    noise = mode(lambda: agent.random_normal((64, 2), salt=1))()
    np.testing.assert_allclose(noise, agent.random_normal((64, 2), salt=1), atol=1e-5)


@pytest.mark.fault(13)
@pytest.mark.fault(14)
@pytest.mark.parametrize(
    ("space", "rule"),
    [
        (gym.spaces.Discrete(2), "SAC needs a Box action space.*Use DQN"),
        (gym.spaces.Box(-np.inf, np.inf, (2,), np.float32), "must be finite"),
        (gym.spaces.Box(-1, np.float32([1, np.inf]), (2,), np.float32), "must be finite"),
        (gym.spaces.Box(np.float32([-np.inf, 0]), 1, (2,), np.float32), "must be finite"),
    ],
    ids=["Discrete", "infinite", "no upper bound", "no lower bound"],
)
def test_other_action_spaces_are_refused(tiny_env, space, rule):
    with pytest.raises(SpaceError, match=rule):
        kerasrl.SAC().build(tiny_env(action_space=space))


def test_the_temperature_must_be_positive():
    with pytest.raises(ArgumentError, match="temperature must be positive; received 0"):
        kerasrl.SAC(temperature=0)


@pytest.mark.thorough
def test_each_optimizer_changes_its_own_variables_only(make_agent, batches):
    rates = {"actor_optimizer": 0.0, "critic_optimizer": 0.0, "temperature_optimizer": 0.0}
    for name in rates:
        optimizers = {n: keras.optimizers.SGD(0.1 * (n == name)) for n in rates}
        agent = make_agent("sac", optimizers)
        parts = {
            "actor_optimizer": agent.actor.variables,
            "critic_optimizer": agent.critic.variables,
            "temperature_optimizer": [agent.log_temperature],
        }
        before = {part: [v.numpy() for v in variables] for part, variables in parts.items()}
        agent.fit(batches(agent), verbose=0)
        for part, variables in parts.items():
            moved = [(v.numpy() != b).any() for v, b in zip(variables, before[part], strict=True)]
            assert all(moved) if part == name else not any(moved), (name, part)
