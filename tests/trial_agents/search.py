"""An agent that acts by search, as docs/extending.md tells how."""

import gymnasium as gym
import keras
import numpy as np
import tensorflow as tf

import kerasrl
from kerasrl.callbacks import Collect, TargetUpdate
from kerasrl.networks import MLP, Target, observation_features
from kerasrl.policies import Policy, PolicySnapshot, PolicySpec, PolicyStep


class Search(Policy):
    """PUCT over the first action (Silver et al., 2017), then what the network would do."""

    def __init__(self, agent, spec, rng):
        self.agent, self.rng = agent, rng
        self.network = PolicySnapshot(agent.policy, spec.observation, 1)
        self.update = self.network.update
        self.simulator = gym.make("CartPole-v1").unwrapped
        self.simulator.reset()

    @property
    def spec(self):
        return PolicySpec(info=self.agent.info_spec())

    def __call__(self, observation):
        visits = np.stack([self.visits(root) for root in observation[0]])
        noise = 0 if self.rng is None else self.rng.gumbel(size=visits.shape)
        return PolicyStep((np.log(visits) + noise).argmax(-1), info={"visits": visits})

    def visits(self, root):
        prior, n, q = self.network([root[None]])["prior"][0], np.ones(2), np.zeros(2)
        for action in [0, 1] + [None] * (self.agent.simulations - 2):
            if action is None:
                action = int((q - q.max() + prior * np.sqrt(n.sum()) / n).argmax())
            q[action] += (self.value(root, action) - q[action]) / n[action]
            n[action] += 1
        return (n / n.sum()).astype(np.float32)

    def value(self, observation, action):
        self.simulator.state, self.simulator.steps_beyond_terminated = tuple(observation), None
        for steps in range(self.agent.depth):
            observation, _, ended, *_ = self.simulator.step(action)
            if ended:
                return steps
            output = self.network([observation[None].astype(np.float32)])
            action = int(output["prior"][0].argmax())
        return steps + output["value"][0]


@keras.saving.register_keras_serializable("tests")
class SearchAgent(kerasrl.Agent):
    """Learns the visits and the value of its search."""

    simulations, depth = 8, 10

    def build_networks(self):
        inputs, features = observation_features(self.observation_space)
        self.network = keras.Model(inputs, keras.layers.Dense(3)(MLP((64, 64))(features)))
        self.target_network = Target(self.network)

    def default_callbacks(self):
        return [Collect(warmup_steps=500), TargetUpdate(period=50)]

    def info_spec(self):
        return {"visits": tf.TensorSpec((2,), tf.float32)}

    def policy(self, observation):
        output = self.network(observation)
        return {"prior": tf.nn.softmax(output[:, :2]), "value": output[:, 2]}

    def make_policy(self, spec, num_envs, rng=None):
        return Search(self, spec, rng)

    def train_step(self, batch):
        v_t, discount = self.target_network(batch["next_observation"])[:, 2], batch["discount"]
        target = kerasrl.losses.td_target(batch["reward"], self.discount * discount, v_t)
        with tf.GradientTape() as tape:
            output = self.network(batch["observation"], training=True)
            loss = tf.nn.softmax_cross_entropy_with_logits(batch["visits"], output[:, :2])
            loss = self.mean(batch, loss + kerasrl.losses.huber(target - output[:, 2]))
        self.minimize(loss, tape, self.network.trainable_variables, self.optimizer)
        self.target_network.update(self.network, self.optimizer.iterations)
        return self.track(loss=loss)
