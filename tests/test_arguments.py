"""Numbers as arguments: every count, seed and real number of the library goes through one rule."""

import fractions
import json

import gymnasium as gym
import keras
import numpy as np
import pytest
import tensorflow as tf

import kerasrl
from kerasrl import callbacks, replay
from kerasrl.callbacks import Collect
from kerasrl.envs import FaultPolicy, make
from kerasrl.errors import ArgumentError

WHOLE = {
    "int": 3,
    "float": 3.0,
    "numpy.int64": np.int64(3),
    "numpy.uint8": np.uint8(3),
    "numpy.float32": np.float32(3),
    "0-d array": np.array(3),
    "tensor": tf.constant(3),
    "float tensor": tf.constant(3.0),
    "variable": tf.Variable(3, dtype=tf.int64),
    "fraction": fractions.Fraction(6, 2),
}
NOT_WHOLE = [True, np.True_, 2.5, np.float32(2.5), "3", b"3", np.nan, np.inf, [3], np.array([3])]
NOT_WHOLE += [None, 3 + 0j, int, tf.constant(2.5), -3]


class Tiny(gym.Env):
    observation_space = gym.spaces.Box(-1, 1, (2,), np.float32)
    action_space = gym.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.time = 0
        return np.zeros(2, np.float32), {}

    def step(self, action):
        self.time += 1
        return np.zeros(2, np.float32), 1.0, self.time == 3, False, {}


def stored(make_one, name):
    """What an argument of a class becomes as its attribute."""
    return lambda value: getattr(make_one(**{name: value}), name)


def video(**arguments):
    return callbacks.Video("videos", Tiny, **arguments)


def schedule(**arguments):
    return callbacks.LinearSchedule("epsilon", 1.0, 0.0, **arguments)


def exported(**arguments):
    return callbacks.PolicyExport("policies", **arguments)


def kept(**arguments):
    return callbacks.Checkpoint("run", **arguments)


def steps_per_execution(kind):
    def compiled(value):
        agent = kind()
        agent.compile(steps_per_execution=value)
        return agent.get_compile_config()["steps_per_execution"]

    return compiled


# What takes a count of at least 1, and gives what it has become: a new one needs a line here.
COUNTS = {
    "Agent.n_step": stored(kerasrl.DQN, "n_step"),
    "PPO.update_epochs": stored(kerasrl.PPO, "update_epochs"),
    "D4PG.num_atoms": stored(kerasrl.D4PG, "num_atoms"),
    "TD3.policy_delay": stored(kerasrl.TD3, "policy_delay"),
    "DQN.steps_per_execution": steps_per_execution(kerasrl.DQN),
    "SAC.steps_per_execution": steps_per_execution(kerasrl.SAC),
    "PPO.steps_per_execution": steps_per_execution(kerasrl.PPO),
    "TargetUpdate.period": stored(callbacks.TargetUpdate, "period"),
    "CollectRollouts.length": stored(callbacks.CollectRollouts, "length"),
    "CollectEpisodes.episodes": stored(callbacks.CollectEpisodes, "episodes"),
    "CollectEpisodes.max_steps": stored(callbacks.CollectEpisodes, "max_steps"),
    "LinearSchedule.env_steps": stored(schedule, "env_steps"),
    "LinearSchedule.steps": stored(schedule, "steps"),
    "Evaluation.episodes": lambda value: callbacks.Evaluation(Tiny, episodes=value).episodes,
    "Evaluation.every_epochs": lambda n: callbacks.Evaluation(Tiny, every_epochs=n).every_epochs,
    "Video.episodes": stored(video, "episodes"),
    "Video.every_epochs": stored(video, "every_epochs"),
    "PolicyExport.every_epochs": stored(exported, "every_epochs"),
    "Checkpoint.every_epochs": stored(kept, "every_epochs"),
    "Checkpoint.max_to_keep": stored(kept, "max_to_keep"),
    "Uniform.capacity": stored(replay.Uniform, "capacity"),
    "FaultPolicy.max_env_restarts": stored(FaultPolicy, "max_env_restarts"),
    "make.num_envs": lambda value: make(Tiny, value).num_envs,
}
# None stands for something of its own there.
OPTIONAL = {"PolicyExport.every_epochs", "Checkpoint.every_epochs", "LinearSchedule.steps"}
OPTIONAL |= {"LinearSchedule.env_steps", "D4PG.num_atoms"}


@pytest.mark.regression(10)
@pytest.mark.regression(54)
@pytest.mark.parametrize("name", COUNTS)
@pytest.mark.table
def test_a_count_is_taken_whatever_its_type(name):
    for kind, value in WHOLE.items():
        taken = COUNTS[name](value)
        assert (type(taken), taken) == (int, 3), kind


@pytest.mark.regression(10)
@pytest.mark.regression(28)
@pytest.mark.parametrize("name", COUNTS)
@pytest.mark.table
def test_what_is_no_count_is_refused_by_name(name):
    for value in [*NOT_WHOLE, 0]:
        if value is None and name in OPTIONAL:
            continue
        with pytest.raises(ArgumentError, match=f"{name.split('.')[1]} must be .*received"):
            COUNTS[name](value)


@pytest.mark.regression(10)
def test_a_warm_up_may_be_of_no_steps():
    assert Collect(warmup_steps=np.float64(0)).warmup_steps == 0
    with pytest.raises(ArgumentError, match="warmup_steps must be an int of at least 0; received"):
        Collect(warmup_steps=1.5)


def fit(make_agent, small_replay, tiny_env, **arguments):
    agent = make_agent("dqn", {"run_eagerly": True})
    given = {"steps_per_epoch": 1, "batch_size": 4, "callbacks": [Collect(warmup_steps=32)]}
    history = agent.fit(tiny_env, replay=small_replay(), verbose=0, **(given | arguments))
    return agent, history


@pytest.mark.regression(10)
def test_a_run_takes_counts_of_any_type(make_agent, small_replay, tiny_env):
    agent, history = fit(
        make_agent,
        small_replay,
        tiny_env,
        epochs=np.float32(2),
        steps_per_epoch=2.0,
        batch_size=np.int32(8),
        num_envs=np.int64(1),
        initial_epoch=0.0,
        validation_data=tiny_env,
        validation_freq=np.int64(2),
        max_env_restarts=3.0,
        seed=np.uint8(3),
    )
    assert history.epoch == [0, 1]
    assert int(agent.optimizer.iterations) == 4
    assert np.isnan(history.history["val_episode_return"]).tolist() == [True, False]
    agent, history = fit(
        make_agent,
        small_replay,
        tiny_env,
        env_steps=np.float64(40),
        epochs=1.0,
        steps_per_epoch=None,
    )
    assert int(agent.env_steps) == 40


@pytest.mark.regression(10)
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("epochs", 1.5),
        ("epochs", True),
        ("steps_per_epoch", "3"),
        ("env_steps", np.nan),
        ("batch_size", 2.5),
        ("num_envs", True),
        ("initial_epoch", -1),
        ("initial_epoch", 0.5),
        ("validation_freq", 0),
        ("seed", -1),
        ("seed", 1.5),
        ("seed", True),
    ],
)
@pytest.mark.table
def test_what_is_no_count_is_refused_by_a_run(make_agent, tiny_env, name, value):
    agent = make_agent("dqn")
    with pytest.raises(ArgumentError, match=f"{name} must be .*received"):
        agent.fit(tiny_env, verbose=0, **{name: value})
    assert agent.run is None


SEEDED = {
    "evaluate": lambda seed: kerasrl.evaluate(Tiny, episodes=1, seed=seed),
    "Evaluation": lambda seed: callbacks.Evaluation(Tiny, seed=seed),
    "RandomPolicy": lambda seed: kerasrl.policies.RandomPolicy(Tiny.action_space, seed),
    "reseed": lambda seed: kerasrl.DQN().reseed(seed),
}


@pytest.mark.regression(9)
@pytest.mark.parametrize("name", SEEDED)
def test_a_seed_may_be_numpys_or_huge_and_not_negative(name):
    for seed in (0, np.int64(3), np.uint32(7), 5.0, 2**40, 2**70, None):
        SEEDED[name](seed)
    for seed in (-1, np.int64(-3), 1.5, True, "0", np.nan):
        with pytest.raises(ArgumentError, match="seed must be an int of at least 0 or None; rec"):
            SEEDED[name](seed)


@pytest.mark.regression(9)
def test_the_type_of_a_seed_makes_no_difference():
    def draws(seed):
        policy = kerasrl.policies.RandomPolicy(gym.spaces.Discrete(99), seed)
        return policy([np.zeros((20, 1))]).action

    np.testing.assert_array_equal(draws(3), draws(np.uint8(3)))
    assert (draws(2**40) != draws(2**40 + 2**32)).any()


@pytest.mark.regression(9)
@pytest.mark.regression(27)
def test_a_run_takes_a_huge_seed_and_is_repeatable(make_agent, small_replay, tiny_env):
    losses = [
        fit(make_agent, small_replay, tiny_env, seed=seed)[1].history["loss"]
        for seed in (2**40, np.int64(2**40), 2**40 + 1)
    ]
    assert losses[0] == losses[1]
    assert losses[0] != losses[2]


@pytest.mark.regression(9)
def test_evaluating_an_agent_takes_numpys_seeds(make_agent, tiny_env):
    agent = make_agent("dqn")
    one, other = (
        agent.evaluate(tiny_env, episodes=np.int64(2), seed=seed, verbose=0)
        for seed in (np.int64(3), 3)
    )
    assert one == other


REALS = {
    "discount": (kerasrl.DQN, 0.5),
    "reward_scale": (kerasrl.DQN, 2.0),
    "exploration_noise": (kerasrl.TD3, 0.25),
    "target_noise": (kerasrl.TD3, 0.25),
    "dqda_clipping": (kerasrl.D4PG, 0.5),
    "v_max": (kerasrl.D4PG, 10.0),
    "clip_range": (kerasrl.PPO, 0.25),
    "gae_lambda": (kerasrl.PPO, 0.5),
    "entropy_cost": (kerasrl.A2C, 0.125),
    "value_cost": (kerasrl.REINFORCE, 0.125),
    "temperature": (kerasrl.SAC, 0.5),
    "target_entropy": (kerasrl.SAC, -2.0),
    "step_size": (callbacks.TargetUpdate, 0.5),
    "env_steps_per_update": (Collect, 0.5),
    "timeout": (replay.Queue, 5.0),
    "env_timeout": (FaultPolicy, 5.0),
}


@pytest.mark.regression(10)
@pytest.mark.parametrize("name", REALS)
@pytest.mark.table
def test_a_real_number_is_taken_whatever_its_type(name):
    made_by, value = REALS[name]
    for given in (np.float32(value), np.float64(value), np.array(value), tf.constant(value)):
        made = made_by(**{name: given})
        if hasattr(made, "get_config"):
            config = json.loads(json.dumps(made.get_config()))
            assert config[name] == value
    for given in ("0.9", True, np.nan, [value]):
        with pytest.raises(ArgumentError, match=f"{name}.* must be .*received"):
            made_by(**{name: given})


def test_the_rule_itself():
    from kerasrl.arguments import fraction, not_negative, positive, real, seed_of, whole

    assert whole("n", 10**30) == 10**30
    assert whole("n", np.uint64(2**63)) == 2**63
    assert whole("n", tf.constant(2, tf.bfloat16)) == 2
    assert whole("n", None, optional=True) is None
    assert seed_of(None) is None
    assert real("x", fractions.Fraction(1, 4)) == 0.25
    assert (fraction("x", 1), positive("x", np.int8(2)), not_negative("x", 0)) == (1.0, 2.0, 0.0)
    with pytest.raises(ArgumentError, match="n must be an int of at least 2; received 1"):
        whole("n", 1, least=2)
    with pytest.raises(ArgumentError, match=r"x must be in \[0, 1\]; received 2"):
        fraction("x", 2)


def test_keras_keeps_the_name_of_what_was_refused(make_agent):
    with pytest.raises(ArgumentError, match="steps_per_execution must be a positive int; received"):
        make_agent("sac").compile(keras.optimizers.SGD(), steps_per_execution=0)
