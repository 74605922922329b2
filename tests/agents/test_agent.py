"""What holds for an agent as a Keras model, whichever it is."""

import inspect

import gymnasium as gym
import keras
import numpy as np
import pytest
import tensorflow as tf

import kerasrl
from kerasrl.callbacks import Collect, LinearSchedule, TargetUpdate
from kerasrl.errors import AgentStateError, ArgumentError, ArgumentTypeError, SpaceError

KINDS = ("dqn", "sac")
EVERY_KIND = (*KINDS, "ppo", "a2c", "reinforce")


def observations(count=16):
    return np.random.default_rng(0).normal(size=(count, 4)).astype(np.float32)


def action_space(kind):
    box = gym.spaces.Box(np.float32([-3, 0]), np.float32([1, 10]))
    return box if kind == "sac" else gym.spaces.Discrete(2, start=3)


class Recorder(gym.Env):
    """Gives one observation after another of a list; keeps the actions it is given."""

    observation_space = gym.spaces.Box(-np.inf, np.inf, (4,), np.float32)

    def __init__(self, action_space):
        self.action_space = action_space
        self.actions = []

    def reset(self, *, seed=None, options=None):
        return observations()[0], {}

    def step(self, action):
        self.actions.append(action)
        time = len(self.actions)
        return observations()[time % 16], float(time), time == 16, False, {}


@pytest.mark.parametrize("kind", EVERY_KIND)
@pytest.mark.table
def test_predict_call_and_evaluate_act_alike(make_agent, kind):
    agent = make_agent(kind, build=False)
    env = Recorder(action_space(kind))
    assert agent.evaluate(env, episodes=1, verbose=0) == [16 * 17 / 2, 0.0, 16.0]
    called = agent(observations()).numpy()
    assert len(np.unique(called, axis=0)) > 1
    np.testing.assert_allclose(agent.predict(observations(), verbose=0), called, rtol=1e-6)
    np.testing.assert_allclose(env.actions, called, rtol=1e-5, atol=1e-5)
    assert all(env.action_space.contains(action) for action in called)


@pytest.mark.parametrize("kind", EVERY_KIND)
@pytest.mark.table
def test_predict_does_not_depend_on_batches(make_agent, kind):
    agent = make_agent(kind)
    whole = agent.predict(observations(), verbose=0)
    assert len(whole) == 16
    np.testing.assert_allclose(
        agent.predict(observations(), batch_size=5, verbose=0), whole, atol=1e-6
    )


def test_evaluate_averages_whole_episodes(make_agent, tiny_env):
    env = tiny_env(length=7)
    agent = make_agent("dqn")
    results = agent.evaluate(env, episodes=3, return_dict=True, verbose=0)
    assert results == {"episode_return": 7.0, "episode_return_std": 0.0, "episode_length": 7.0}
    assert len(env.actions) == 21
    assert not env.closed
    assert agent.evaluate(tiny_env, episodes=3, num_envs=2, verbose=0) == [5.0, 0.0, 5.0]


def test_evaluate_changes_nothing(make_agent, tiny_env):
    agent = make_agent("dqn")
    before = agent.get_weights()
    agent.evaluate(tiny_env(), episodes=2, verbose=0)
    for one, other in zip(before, agent.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_evaluate_with_a_seed_is_repeatable(make_agent, tiny_env):
    env = tiny_env()
    make_agent("dqn").evaluate(env, episodes=1, seed=7, verbose=0)
    assert env.seeds[0] == 7


@pytest.mark.parametrize("episodes", [0, -1, 1.5])
def test_evaluate_refuses_no_episodes(make_agent, tiny_env, episodes):
    with pytest.raises(ArgumentError, match="episodes must be a positive int"):
        make_agent("dqn").evaluate(tiny_env(), episodes=episodes)


@pytest.mark.parametrize("kind", EVERY_KIND)
@pytest.mark.table
def test_summary_lists_the_networks(make_agent, kind):
    lines = []
    make_agent(kind).summary(print_fn=lambda line, **_: lines.append(line))
    text = "\n".join(lines)
    own = {"dqn": ["target_network"], "sac": ["twin_", "target_critic"]}
    assert all(name in text for name in own.get(kind, ["sequential"]))
    assert "Trainable params: 0" not in text


@pytest.mark.parametrize("kind", EVERY_KIND)
@pytest.mark.parametrize("use", ["call", "predict", "compiled call"])
@pytest.mark.table
def test_using_an_agent_before_it_is_built_says_what_to_do(make_agent, kind, use):
    agent = make_agent(kind, build=False)
    with pytest.raises(AgentStateError, match=r"is not built.*Call fit\(env\), or build\(env\)"):
        if use == "predict":
            agent.predict(observations(), verbose=0)
        else:
            (tf.function(agent) if use == "compiled call" else agent)(observations())


@pytest.mark.parametrize("agent_class", [kerasrl.DQN, kerasrl.SAC, kerasrl.PPO])
def test_fit_before_compile_says_what_to_do(agent_class, tiny_env):
    agent = agent_class()
    with pytest.raises(AgentStateError, match=r"must be compiled before fit. Call compile\(\)"):
        agent.fit(tiny_env())
    assert agent.run is None


@pytest.mark.parametrize(
    "agent_class", [kerasrl.SAC, kerasrl.DDPG, kerasrl.TD3, kerasrl.D4PG], ids=lambda c: c.__name__
)
def test_one_optimizer_for_two_networks_is_refused(agent_class):
    agent, adam = agent_class(), keras.optimizers.Adam()
    agent.compile(actor_optimizer=adam, critic_optimizer=adam)
    with pytest.raises(ArgumentError, match="^actor_optimizer and critic_optimizer must be two"):
        agent.fit("Pendulum-v1", steps_per_epoch=1)
    assert agent.run is None


@pytest.mark.parametrize("what", [3, None, np.zeros(4), {"a": 1}])
def test_fit_refuses_what_is_no_environment(make_agent, what):
    with pytest.raises(ArgumentTypeError, match="expected a Gymnasium id"):
        make_agent("dqn").fit(what)


def test_building_again_for_the_same_spaces_keeps_the_networks(make_agent, tiny_env):
    agent = make_agent("dqn")
    network = agent.q_network
    agent.build(tiny_env())
    assert agent.q_network is network


def test_building_for_other_spaces_is_refused(make_agent, tiny_env):
    agent = make_agent("dqn")
    with pytest.raises(SpaceError, match=r"built for .*Discrete\(2\).*Discrete\(3\)"):
        agent.build(tiny_env(action_space=gym.spaces.Discrete(3)))


def test_build_closes_what_it_makes_and_nothing_else(make_agent, tiny_env):
    made = []

    def factory():
        made.append(tiny_env())
        return made[-1]

    make_agent("dqn", build=False).build(factory)
    assert made[0].closed
    env = tiny_env()
    make_agent("dqn", build=False).build(env)
    assert not env.closed


@pytest.mark.parametrize(
    ("arguments", "rule"),
    [
        ({"discount": 1.5}, "discount must be in"),
        ({"discount": -0.1}, "discount must be in"),
        ({"discount": float("nan")}, "discount must be in"),
        ({"n_step": 0}, "n_step must be a positive int"),
        ({"n_step": 1.5}, "n_step must be a positive int"),
        ({"n_step": True}, "n_step must be a positive int"),
    ],
    ids=repr,
)
def test_bad_arguments_are_refused(arguments, rule):
    with pytest.raises(ArgumentError, match=rule):
        kerasrl.DQN(**arguments)


CONFIGS = {
    "dqn": {"double": True, "dueling": True, "n_step": 3},
    "sac": {
        "temperature": 0.5,
        "target_entropy": -7.0,
        "learn_temperature": False,
        "n_step": 3,
    },
    "ppo": {
        "update_epochs": 3,
        "clip_range": 0.1,
        "clip_values": True,
        "gae_lambda": 0.5,
        "entropy_cost": 0.01,
        "value_cost": 0.5,
        "target_kl": 0.02,
        "normalize_advantages": False,
    },
    "a2c": {
        "gae_lambda": 0.5,
        "entropy_cost": 0.01,
        "value_cost": 0.5,
        "normalize_advantages": True,
    },
    "reinforce": {
        "baseline": True,
        "normalize_returns": False,
        "entropy_cost": 0.01,
        "value_cost": 0.5,
    },
}
OF_ALL = {"normalize_observations": True, "discount": 0.9, "reward_scale": 0.1, "name": "mine"}


@pytest.mark.parametrize("kind", EVERY_KIND)
def test_the_config_holds_every_argument(kind):
    agent_class = getattr(kerasrl, kind.upper())
    arguments = CONFIGS[kind] | OF_ALL
    expected = arguments | dict.fromkeys(["q_network"] if kind == "dqn" else ["actor", "critic"])
    assert set(inspect.signature(agent_class).parameters) == set(expected)
    agent = agent_class(**arguments)
    assert agent.get_config() == expected
    copy = agent_class.from_config(agent.get_config())
    assert copy.get_config() == expected


@pytest.mark.parametrize("networks", ["default", "custom"])
@pytest.mark.parametrize("kind", EVERY_KIND)
@pytest.mark.table
def test_an_agent_made_from_the_config_of_a_built_one_acts_like_it(
    make_agent, tiny_env, kind, networks
):
    env = tiny_env(action_space=action_space(kind))
    if networks == "custom":
        agent = make_agent(kind, build=False, discount=0.9)
    else:
        agent = getattr(kerasrl, kind.upper())(discount=0.9)
    agent.build(env)
    copy = type(agent).from_config(agent.get_config())
    copy.build(env)
    assert copy.discount == 0.9
    assert len(copy.weights) == len(agent.weights)
    copy.set_weights(agent.get_weights())
    np.testing.assert_allclose(
        copy.predict(observations(), verbose=0), agent.predict(observations(), verbose=0)
    )
    copy.build(env)
    assert copy.get_config().keys() == agent.get_config().keys()


@pytest.mark.parametrize("kind", EVERY_KIND)
@pytest.mark.table
def test_the_config_survives_json(make_agent, tiny_env, kind):
    agent = make_agent(kind, discount=0.9)
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(agent))
    copy.build(tiny_env(action_space=agent.action_space))
    copy.set_weights(agent.get_weights())
    np.testing.assert_allclose(
        copy.predict(observations(), verbose=0), agent.predict(observations(), verbose=0)
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.table
def test_the_history_holds_the_logs_of_every_epoch(make_agent, tiny_env, kind):
    agent = make_agent(kind)
    env = tiny_env(action_space=agent.action_space)
    history = agent.fit(
        env,
        epochs=2,
        steps_per_epoch=4,
        batch_size=4,
        validation_data=tiny_env(action_space=agent.action_space, length=3),
        callbacks=[Collect(warmup_steps=40)],
        verbose=0,
    )
    assert set(history.history) == {
        *agent.log_names,
        "episode_return",
        "episode_length",
        "env_steps",
        "env_steps_per_second",
        "val_episode_return",
        "val_episode_return_std",
        "val_episode_length",
        *("epsilon" for _ in range(kind == "dqn")),
        *(n.replace("optimizer", "learning_rate") for n in agent.optimized_variables()),
    }
    assert history.epoch == [0, 1]
    assert all(len(values) == 2 for values in history.history.values())
    assert all(isinstance(x, float) for values in history.history.values() for x in values)
    assert history.history["val_episode_return"] == [3.0, 3.0]
    assert history.history["episode_return"] == [5.0, 5.0]
    assert history.model is agent
    assert agent.history is history


@pytest.mark.parametrize("verbose", [0, 1, 2, "auto"])
@pytest.mark.table
def test_verbose_as_in_keras(make_agent, batches, capsys, verbose):
    agent = make_agent("dqn", {"run_eagerly": True})
    capsys.readouterr()
    agent.fit(batches(agent, count=3), epochs=2, verbose=verbose)
    printed = capsys.readouterr().out
    assert ("Epoch 1/2" in printed) == (verbose != 0)
    assert ("3/3 [====" in printed) == (verbose in (1, "auto"))
    assert ("loss" in printed) == (verbose != 0)


def test_the_bar_counts_a_run_in_an_environment_to_its_end(make_agent, tiny_env, capsys):
    agent = make_agent("dqn")
    agent.fit(
        tiny_env(), steps_per_epoch=4, batch_size=4, callbacks=[Collect(warmup_steps=32)], verbose=1
    )
    printed = capsys.readouterr().out
    assert "4/4 [====" in printed
    assert "episode_return: 5\n" in printed.replace(" - ", "\n")


@pytest.mark.parametrize("verbose", [3, -1, "yes", None])
@pytest.mark.table
def test_other_verbosities_are_refused(make_agent, batches, verbose):
    agent = make_agent("dqn")
    with pytest.raises(ArgumentError, match='verbose must be 0, 1, 2 or "auto"'):
        agent.fit(batches(agent), verbose=verbose)


def test_initial_epoch_as_in_keras(make_agent, batches):
    agent = make_agent("dqn", {"run_eagerly": True})
    assert agent.fit(batches(agent), initial_epoch=2, epochs=4, verbose=0).epoch == [2, 3]
    assert agent.fit(batches(agent), initial_epoch=2, verbose=0).epoch == [2]
    assert agent.fit(batches(agent), initial_epoch=2, epochs=2, verbose=0).epoch == []
    assert int(agent.optimizer.iterations) == 3


@pytest.mark.fault(52)
def test_a_second_fit_goes_on(make_agent, tiny_env, small_replay):
    agent = make_agent("dqn")
    env = tiny_env()
    replay = small_replay()
    arguments = {"steps_per_epoch": 4, "batch_size": 4, "replay": replay, "verbose": 0}
    callbacks = [Collect(warmup_steps=32)]
    first = agent.fit(env, callbacks=callbacks, **arguments).history
    assert first["env_steps"] == [36.0]
    assert replay.size == 32
    second = agent.fit(env, callbacks=callbacks, **arguments).history
    assert second["env_steps"] == [40.0]  # Without another warm-up.
    assert replay.size == 32
    assert len(env.actions) == 40
    assert int(agent.optimizer.iterations) == 8
    assert int(agent.env_steps) == 40


def test_the_warm_up_of_a_trained_agent_is_its_own(make_agent, tiny_env, small_replay):
    class Counting(Collect):
        acted = 0

        def act(self, observation):
            self.acted += len(observation[0])
            return super().act(observation)

    agent = make_agent("dqn")
    collect = Counting(warmup_steps=32)
    for acted in (4, 4 + 36):
        agent.fit(
            tiny_env(),
            steps_per_epoch=4,
            batch_size=4,
            callbacks=[collect],
            replay=small_replay(),
            verbose=0,
        )
        assert collect.acted == acted


def test_default_callbacks_give_way_to_instances_of_their_classes(
    make_agent, tiny_env, small_replay
):
    class MyCollect(Collect):
        pass

    mine = [
        MyCollect(warmup_steps=32),
        TargetUpdate(period=7),
        LinearSchedule("epsilon", 0.5, 0.5, steps=1),
    ]
    agent = make_agent("dqn")
    lists = []

    class Spy(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            lists.append([int(t.period) for t in self.model.targets] + [float(agent.epsilon)])

    agent.fit(
        tiny_env(),
        steps_per_epoch=1,
        batch_size=4,
        callbacks=[*mine, Spy()],
        replay=small_replay(),
        verbose=0,
    )
    assert lists == [[7, 0.5]]
    assert int(agent.env_steps) == 33  # A second Collect would have taken 1004 more.


def test_a_schedule_of_another_weight_replaces_nothing(make_agent, batches):
    agent = make_agent("dqn", {"run_eagerly": True})
    schedule = LinearSchedule("optimizer.learning_rate", 0.5, 0.1, steps=10)
    agent.epsilon.assign(0.0)
    agent.fit(batches(agent), callbacks=[schedule], verbose=0)
    assert float(agent.epsilon) == 1.0
    np.testing.assert_allclose(agent.optimizer.learning_rate, 0.46)
