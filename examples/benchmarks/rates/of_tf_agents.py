"""What TF-Agents does in a second, in two of its tutorials; see `compare.py`.

    path/to/python examples/benchmarks/rates/of_tf_agents.py sac_minitaur

`reinforce_cartpole` is updates per second, of two episodes of at most 200 steps, evaluation left
out. `sac_minitaur` is environment steps per second, with one update per step on batches of 256,
once everything is traced.
"""

import os
import sys
import tempfile
import time

os.environ["TF_USE_LEGACY_KERAS"] = "1"
TIMED = 1_000  # Environment steps of the Minitaur.


def reinforce() -> float:
    """Updates per second, of 250."""
    import reverb
    import tensorflow as tf
    from tf_agents.agents.reinforce.reinforce_agent import ReinforceAgent
    from tf_agents.drivers.py_driver import PyDriver
    from tf_agents.environments import suite_gym, tf_py_environment
    from tf_agents.networks.actor_distribution_network import ActorDistributionNetwork
    from tf_agents.policies.py_tf_eager_policy import PyTFEagerPolicy
    from tf_agents.replay_buffers.reverb_replay_buffer import ReverbReplayBuffer
    from tf_agents.replay_buffers.reverb_utils import ReverbAddEpisodeObserver
    from tf_agents.specs import tensor_spec
    from tf_agents.utils import common

    env = suite_gym.load("CartPole-v0")
    specs = tf_py_environment.TFPyEnvironment(suite_gym.load("CartPole-v0"))
    observation, action = specs.observation_spec(), specs.action_spec()
    agent = ReinforceAgent(
        specs.time_step_spec(),
        action,
        actor_network=ActorDistributionNetwork(observation, action, fc_layer_params=(100,)),
        optimizer=tf.keras.optimizers.Adam(1e-3),
        normalize_returns=True,
        train_step_counter=tf.Variable(0),
    )
    agent.initialize()
    agent.train = common.function(agent.train)
    signature = tensor_spec.add_outer_dim(tensor_spec.from_spec(agent.collect_data_spec))
    selectors = reverb.selectors
    table = reverb.Table(
        "episodes",
        sampler=selectors.Uniform(),
        remover=selectors.Fifo(),
        max_size=2_000,
        rate_limiter=reverb.rate_limiters.MinSize(1),
        signature=signature,
    )
    replay = ReverbReplayBuffer(
        agent.collect_data_spec,
        table_name="episodes",
        sequence_length=None,
        local_server=reverb.Server([table]),
    )
    observer = ReverbAddEpisodeObserver(replay.py_client, "episodes", 2_000)
    policy = PyTFEagerPolicy(agent.collect_policy, use_tf_function=True)
    began = time.perf_counter()
    for _ in range(250):
        PyDriver(env, policy, [observer], max_episodes=2).run(env.reset())
        trajectories, _ = next(iter(replay.as_dataset(sample_batch_size=1)))
        agent.train(experience=trajectories)
        replay.clear()
    return 250 / (time.perf_counter() - began)


def minitaur() -> float:
    """Environment steps per second."""
    import reverb
    import tensorflow as tf
    from tf_agents.agents.ddpg.critic_network import CriticNetwork
    from tf_agents.agents.sac.sac_agent import SacAgent
    from tf_agents.agents.sac.tanh_normal_projection_network import TanhNormalProjectionNetwork
    from tf_agents.environments import suite_pybullet
    from tf_agents.networks.actor_distribution_network import ActorDistributionNetwork
    from tf_agents.policies.py_tf_eager_policy import PyTFEagerPolicy
    from tf_agents.policies.random_py_policy import RandomPyPolicy
    from tf_agents.replay_buffers.reverb_replay_buffer import ReverbReplayBuffer
    from tf_agents.replay_buffers.reverb_utils import ReverbAddTrajectoryObserver
    from tf_agents.train.actor import Actor
    from tf_agents.train.learner import Learner
    from tf_agents.train.utils import spec_utils, train_utils

    env = suite_pybullet.load("MinitaurBulletEnv-v0")
    observation, action, time_step = spec_utils.get_tensor_specs(env)
    step = train_utils.create_train_step()
    agent = SacAgent(
        time_step,
        action,
        actor_network=ActorDistributionNetwork(
            observation,
            action,
            fc_layer_params=(256, 256),
            continuous_projection_net=TanhNormalProjectionNetwork,
        ),
        critic_network=CriticNetwork((observation, action), joint_fc_layer_params=(256, 256)),
        actor_optimizer=tf.keras.optimizers.Adam(3e-4),
        critic_optimizer=tf.keras.optimizers.Adam(3e-4),
        alpha_optimizer=tf.keras.optimizers.Adam(3e-4),
        target_update_tau=0.005,
        gamma=0.99,
        train_step_counter=step,
    )
    agent.initialize()
    selectors = reverb.selectors
    table = reverb.Table(
        "transitions",
        sampler=selectors.Uniform(),
        remover=selectors.Fifo(),
        max_size=10_000,
        rate_limiter=reverb.rate_limiters.MinSize(1),
    )
    replay = ReverbReplayBuffer(
        agent.collect_data_spec,
        table_name="transitions",
        sequence_length=2,
        local_server=reverb.Server([table]),
    )
    observer = ReverbAddTrajectoryObserver(
        replay.py_client, "transitions", sequence_length=2, stride_length=1
    )
    dataset = replay.as_dataset(sample_batch_size=256, num_steps=2).prefetch(50)
    random = RandomPyPolicy(env.time_step_spec(), env.action_spec())
    Actor(env, random, step, steps_per_run=1_000, observers=[observer]).run()
    policy = PyTFEagerPolicy(agent.collect_policy, use_tf_function=True)
    actor = Actor(env, policy, step, steps_per_run=1, observers=[observer])
    learner = Learner(tempfile.mkdtemp(), step, agent, lambda: dataset, triggers=[])
    for i in range(TIMED + 20):
        if i == 20:
            began = time.perf_counter()
        actor.run()
        learner.run(iterations=1)
    return TIMED / (time.perf_counter() - began)


if __name__ == "__main__":
    print({"reinforce_cartpole": reinforce, "sac_minitaur": minitaur}[sys.argv[1]]())
