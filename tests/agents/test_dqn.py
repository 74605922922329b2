import gymnasium as gym
import keras
import numpy as np
import pytest
import tensorflow as tf

import kerasrl
from kerasrl.errors import SpaceError

MODES = {"eager": {"run_eagerly": True}, "graph": {}, "xla": {"jit_compile": True}}
RATE = 0.1


def forward(weights, x):
    kernel1, bias1, kernel2, bias2 = (np.asarray(w, np.float64) for w in weights)
    return np.tanh(x @ kernel1 + bias1) @ kernel2 + bias2


def td_error(q, a, r, discount, q_target, selector=None):
    """By loops, one example after another."""
    errors = []
    for i in range(len(a)):
        chosen = np.argmax((q_target if selector is None else selector)[i])
        errors.append(r[i] + discount[i] * q_target[i][chosen] - q[i][a[i]])
    return np.array(errors)


def mean_huber(error):
    return np.mean([0.5 * e * e if abs(e) <= 1 else abs(e) - 0.5 for e in error])


def values_gradient(error, a, num_actions):
    """The gradient of the mean Huber loss in the action values, [B, A]."""
    gradient = np.zeros((len(a), num_actions))
    gradient[np.arange(len(a)), a] = -np.clip(error, -1, 1) / len(a)
    return gradient


def only_batch(dataset):
    batch = next(iter(dataset))
    return {key: np.asarray(value) for key, value in batch.items()}


def move_apart(network, scale=0.5):
    """Gives a target network weights that its source does not have."""
    rng = np.random.default_rng(1)
    network.set_weights([w + scale * rng.normal(size=w.shape) for w in network.get_weights()])


@pytest.fixture(params=MODES)
def compiled(request):
    """Arguments of `compile` that run a step eagerly, in a graph, or compiled by XLA."""
    return MODES[request.param]


@pytest.mark.parametrize("double", [False, True])
@pytest.mark.table
def test_train_step_equals_a_numpy_twin(make_agent, batches, compiled, double):
    agent = make_agent("dqn", compiled, double=double, discount=0.9)
    move_apart(agent.target_network.network)
    dataset = batches(agent, batch_size=32).map(lambda b: {**b, "reward": 2 * b["reward"]})
    b = only_batch(dataset)
    before = agent.q_network.get_weights()
    q = forward(before, b["observation"])
    q_target = forward(agent.target_network.network.get_weights(), b["next_observation"])
    selector = forward(before, b["next_observation"])
    if double:  # Else the test would not tell the two apart.
        assert (selector.argmax(-1) != q_target.argmax(-1)).any()
    error = td_error(
        q, b["action"], b["reward"], 0.9 * b["discount"], q_target, selector if double else None
    )
    assert (abs(error) > 1).any()
    assert (abs(error) < 1).any()

    history = agent.fit(dataset, verbose=0).history

    np.testing.assert_allclose(history["loss"], [mean_huber(error)], rtol=1e-5)
    np.testing.assert_allclose(history["q_value"], [q.mean()], rtol=1e-5)
    gradient = values_gradient(error, b["action"], 2)
    hidden = np.tanh(b["observation"] @ before[0] + before[1])
    after = agent.q_network.get_weights()
    np.testing.assert_allclose(after[3], before[3] - RATE * gradient.sum(0), atol=1e-6)
    np.testing.assert_allclose(after[2], before[2] - RATE * hidden.T @ gradient, atol=1e-6)


def test_dueling_train_step_equals_a_numpy_twin(tiny_env, batches):
    keras.utils.set_random_seed(0)
    agent = kerasrl.DQN(dueling=True, discount=0.9)
    agent.build(tiny_env(action_space=gym.spaces.Discrete(3)))
    agent.compile(keras.optimizers.SGD(RATE))
    (head,) = [x for x in agent.q_network.layers if isinstance(x, kerasrl.networks.DuelingHead)]
    b = only_batch(batches(agent))

    def values(weights, x):
        k1, b1, k2, b2, k_value, b_value, k_advantage, b_advantage = weights
        hidden = np.maximum(np.maximum(x @ k1 + b1, 0) @ k2 + b2, 0)
        advantage = hidden @ k_advantage + b_advantage
        return hidden @ k_value + b_value + advantage - advantage.mean(-1, keepdims=True)

    weights = agent.q_network.get_weights()
    q, q_target = values(weights, b["observation"]), values(weights, b["next_observation"])
    error = td_error(q, b["action"], b["reward"], 0.9 * b["discount"], q_target)
    value_bias, advantage_bias = head.value.bias.numpy(), head.advantage.bias.numpy()

    history = agent.fit(batches(agent), verbose=0).history

    np.testing.assert_allclose(history["loss"], [mean_huber(error)], rtol=1e-5)
    gradient = values_gradient(error, b["action"], 3).sum(0)
    np.testing.assert_allclose(head.value.bias, value_bias - RATE * gradient.sum(), atol=1e-6)
    np.testing.assert_allclose(
        head.advantage.bias, advantage_bias - RATE * (gradient - gradient.mean()), atol=1e-6
    )


def test_the_target_of_n_steps_is_discounted_n_times():
    # The value of every observation is 10, the rewards are 1, 2, 4, 8 ..., episodes are endless.
    class Doubling(gym.Env):
        observation_space = gym.spaces.Box(-np.inf, np.inf, (1,), np.float32)
        action_space = gym.spaces.Discrete(2)

        def reset(self, *, seed=None, options=None):
            self.time = 0
            return np.float32([0]), {}

        def step(self, action):
            self.time = (self.time + 1) % 3
            return np.float32([self.time]), 2.0 ** ((self.time - 1) % 3), False, False, {}

    ten = keras.initializers.Constant(10)
    q_network = keras.Sequential(
        [keras.Input((1,)), keras.layers.Dense(2, kernel_initializer="zeros", bias_initializer=ten)]
    )
    agent = kerasrl.DQN(q_network, n_step=3, discount=0.5)
    agent.compile(keras.optimizers.SGD(0.0))
    history = agent.fit(
        Doubling,
        steps_per_epoch=1,
        batch_size=4096,
        callbacks=[kerasrl.callbacks.Collect(warmup_steps=256)],
        replay=kerasrl.replay.Uniform(4_096),
        verbose=0,
    ).history
    # Target: r0 + r1 / 2 + r2 / 4 + 10 / 8, where r is 1, 2, 4 or 2, 4, 1 or 4, 1, 2.
    huber = [10 - (target + 1.25) - 0.5 for target in (1 + 1 + 1, 2 + 2 + 0.25, 4 + 0.5 + 0.5)]
    np.testing.assert_allclose(history["loss"], [np.mean(huber)], atol=0.06)


def test_actions_count_from_the_start_of_the_space(tiny_env, batches):
    shifted = tiny_env(action_space=gym.spaces.Discrete(3, start=5))
    plain = tiny_env(action_space=gym.spaces.Discrete(3))
    results = []
    for env, start in ((shifted, 5), (plain, 0)):
        keras.utils.set_random_seed(0)
        network = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
        agent = kerasrl.DQN(network)
        agent.build(env)
        agent.compile(keras.optimizers.SGD(RATE))
        dataset = batches(agent)
        actions = agent.predict(only_batch(dataset)["observation"], verbose=0)
        assert set(actions) <= {start, start + 1, start + 2}
        loss = agent.fit(dataset, verbose=0).history["loss"]
        results.append((actions - start, loss, *agent.q_network.get_weights()))
    for one, other in zip(*results, strict=True):
        np.testing.assert_array_equal(one, other)


def test_fit_with_a_start_other_than_zero_acts_within_the_space(tiny_env, make_agent):
    env = tiny_env(action_space=gym.spaces.Discrete(2, start=-1))
    agent = make_agent("dqn", build=False)
    agent.fit(
        env, steps_per_epoch=8, callbacks=[kerasrl.callbacks.Collect(warmup_steps=40)], verbose=0
    )
    assert set(np.ravel(env.actions)) == {-1, 0}


def test_policy_is_epsilon_greedy(make_agent, mode):
    agent = make_agent("dqn")
    observation = tf.random.stateless_normal((16, 4), (0, 1))
    greedy = agent.q_network(observation).numpy().argmax(-1)
    agent.epsilon.assign(0.3)
    probabilities = mode(agent.policy)(observation)
    expected = np.where(np.eye(2)[greedy] == 1, 0.85, 0.15)
    np.testing.assert_allclose(probabilities, expected, rtol=1e-6)


def test_exploring_draws_with_the_probabilities_of_the_policy(make_agent):
    agent = make_agent("dqn")
    probabilities = np.tile(np.float32([0.2, 0.8]), (10_000, 1))
    actions = agent.explore(probabilities, np.random.default_rng(0))
    assert actions.dtype == np.int64
    np.testing.assert_allclose(actions.mean(), 0.8, atol=0.02)


def test_exploring_with_epsilon_zero_is_greedy(make_agent):
    agent = make_agent("dqn")
    agent.epsilon.assign(0.0)
    observation = tf.random.stateless_normal((64, 4), (0, 1))
    explored = agent.explore(agent.policy(observation).numpy(), np.random.default_rng(0))
    np.testing.assert_array_equal(explored, agent.predict(observation, verbose=0))


@pytest.mark.fault(13)
@pytest.mark.parametrize(
    "space", [gym.spaces.Box(-1, 1, (2,), np.float32), gym.spaces.MultiDiscrete([2, 3])], ids=repr
)
def test_other_action_spaces_are_refused(tiny_env, space):
    with pytest.raises(SpaceError, match="DQN needs a Discrete action space.*Use SAC"):
        kerasrl.DQN().build(tiny_env(action_space=space))
