import gymnasium as gym
import keras
import numpy as np
import pytest
import tensorflow as tf

import kerasrl
from kerasrl.callbacks import Collect, CollectEpisodes, CollectRollouts, LinearSchedule
from kerasrl.errors import ArgumentError, ArgumentTypeError, NetworkError, SpaceError
from kerasrl.replay import Queue, Uniform
from kerasrl.testing import nested_space

spaces = gym.spaces
EAGER = {"run_eagerly": True}
MODES = {"eager": EAGER, "graph": {}, "xla": {"jit_compile": True}}


@pytest.fixture
def fit(make_agent, tiny_env):
    """Fits a small agent of two epochs for some steps; returns it and the history."""

    def run(steps, compiled=EAGER, length=8, callbacks=(), agent=None, **arguments):
        agent = agent or make_agent("ppo", compiled, update_epochs=2)
        arguments = {"steps_per_epoch": steps, "batch_size": 4, "verbose": 0} | arguments
        callbacks = [CollectRollouts(length), *callbacks]
        return agent, agent.fit(tiny_env(), callbacks=callbacks, **arguments).history

    return run


# -- target_kl --------------------------------------------------------------------------------


def far(log_prob):
    """Behaviour log-probabilities for which `approximate_kl` is exp(1) - 2, some 0.7 nats."""
    return log_prob - 1.0


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.table
def test_nothing_is_learned_after_the_policy_has_moved_too_far(make_agent, examples, mode):
    agent = make_agent("ppo", MODES[mode], target_kl=0.1)
    # A rollout of four minibatches, 40; one of two, 48; one of one, 52. The second of the first
    # and the first of the last are too far.
    rollouts, too_far = (
        [40, 40, 40, 40, 48, 48, 52],
        [False, True, False, False, False, False, True],
    )
    batches, weights, iterations = [], [], []
    for i, (rollout, is_far) in enumerate(zip(rollouts, too_far, strict=True)):
        batch = examples(agent, seed=i, env_steps=np.full(8, rollout))
        batches.append(batch | {"far": np.full(8, is_far)})

    def current(batch):
        log_prob = agent._actions.log_prob(agent.actor(batch["observation"]), batch["action"])
        log_prob = tf.where(batch.pop("far"), far(log_prob), log_prob)
        return batch | {"log_prob": log_prob}

    def note():
        weights.append(np.concatenate([np.ravel(w) for w in agent.actor.get_weights()]))
        iterations.append(int(agent.optimizer.iterations))

    note()
    for batch in batches:
        dataset = tf.data.Dataset.from_tensors(current(dict(batch)))
        keras.Model.fit(agent, dataset, verbose=0)
        note()
    changed = [(one != other).any() for one, other in zip(weights[:-1], weights[1:], strict=True)]
    assert changed == [True, False, False, False, True, True, False]
    assert iterations == [0, 1, 1, 1, 1, 2, 3, 3]


def test_the_limit_is_one_and_a_half_times_target_kl(make_agent, examples):
    for target_kl, learns in ((0.47, False), (0.49, True)):  # (e - 2) / 1.5 = 0.479.
        agent = make_agent("ppo", EAGER, target_kl=target_kl)
        batch = examples(agent, weight=np.ones(8, np.float32))
        log_prob = agent._actions.log_prob(agent.actor(batch["observation"]), batch["action"])
        dataset = tf.data.Dataset.from_tensors(batch | {"log_prob": far(log_prob)})
        history = keras.Model.fit(agent, dataset, verbose=0).history
        np.testing.assert_allclose(history["approximate_kl"], [np.e - 2], rtol=1e-5)
        assert int(agent.optimizer.iterations) == learns


class Iterations(keras.callbacks.Callback):
    """Notes the gradient steps done after every batch."""

    def __init__(self):
        super().__init__()
        self.done = []

    def on_train_batch_end(self, batch, logs=None):
        self.done.append(int(self.model.optimizer.iterations))


def test_every_rollout_is_learned_from_until_it_goes_too_far(make_agent, tiny_env):
    """Also where the gradient steps begin anew, and where a rollout ends with its first batch."""

    class Dropout(keras.layers.Layer):
        """Moves the policy while training, so that the first minibatch is too far off already."""

        def call(self, inputs, training=False):
            return inputs + (self.shift if training else 0.0)

    dropout = Dropout()
    dropout.shift = tf.Variable([0.0, 0.0], trainable=False)
    actor = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2), dropout])
    agent = kerasrl.PPO(actor, update_epochs=2, target_kl=1e-6)
    progress = []
    for shift in (0.0, 3.0, 0.0):
        dropout.shift.assign([shift, 0.0])
        agent.compile(keras.optimizers.SGD(1.0), **EAGER)
        iterations = Iterations()
        agent.fit(
            tiny_env(),
            steps_per_epoch=8,
            batch_size=4,
            callbacks=[CollectRollouts(8), iterations],
            seed=0,
            verbose=0,
        )
        progress.append(np.diff([0, *iterations.done]).reshape(2, 4).tolist())
    # The policy acts before an update and has moved after it: one a rollout, then no more.
    assert progress == [[[1, 0, 0, 0]] * 2, [[0, 0, 0, 0]] * 2, [[1, 0, 0, 0]] * 2]


# -- repeatability ----------------------------------------------------------------------------


def weights_of(agent):
    return np.concatenate(
        [np.ravel(w) for w in agent.actor.get_weights() + agent.critic.get_weights()]
    )


@pytest.mark.thorough
def test_the_same_weights_whatever_steps_per_execution(fit):
    agents, histories = zip(
        *[fit(8, {"steps_per_execution": n}, epochs=2, seed=0) for n in (1, 4)], strict=True
    )
    for agent, history in zip(agents[1:], histories[1:], strict=True):
        np.testing.assert_allclose(weights_of(agent), weights_of(agents[0]), atol=1e-6)
        np.testing.assert_allclose(history["loss"], histories[0]["loss"], rtol=1e-4)
    assert (weights_of(fit(8, seed=1)[0]) != weights_of(fit(8, seed=0)[0])).any()


# -- how long a run is ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "steps", "env_steps"),
    [
        # Rollouts of 8 steps, of 4 updates each.
        ({"env_steps": 24}, [4, 4, 4], 24),
        ({"env_steps": 31}, [4, 4, 4, 4], 32),
        ({"env_steps": 7}, [4], 8),
        ({"env_steps": 40, "epochs": 2}, [12, 8], 40),
        ({"env_steps": 24, "steps_per_epoch": 5}, [5, 5, 2], 24),
        ({"env_steps": 8, "epochs": 1, "initial_epoch": 0}, [4], 8),
        ({"steps_per_epoch": 6, "epochs": 2}, [6, 6], 24),
        ({"steps_per_epoch": 2}, [2], 8),
    ],
    ids=repr,
)
@pytest.mark.table
def test_length_of_a_run(fit, arguments, steps, env_steps):
    counted = []

    class Count(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            counted.append(0)

        def on_train_batch_end(self, batch, logs=None):
            counted[-1] += 1

    agent, history = fit(None, callbacks=[Count()], **({"steps_per_epoch": None} | arguments))
    assert counted == steps
    assert int(agent.optimizer.iterations) == sum(steps)
    assert int(agent.env_steps) == env_steps
    assert history["env_steps"][-1] == env_steps


def test_an_epoch_has_whole_rollouts_unless_told_otherwise(fit):
    class Stop(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            self.model.stop_training = True

    stop = Stop()
    fit(None, length=12, callbacks=[stop])
    assert stop.params["steps"] == 1002  # 167 rollouts of 6 updates: the first number over 1000.


def test_the_history_holds_the_logs_of_every_epoch(fit):
    agent, history = fit(4, epochs=2)
    assert set(history) == {
        *agent.log_names,
        "episode_return",
        "episode_length",
        "env_steps",
        "env_steps_per_second",
        "learning_rate",
        "clip_range",
    }
    assert history["env_steps"] == [8.0, 16.0]
    assert history["episode_return"] == history["episode_length"] == [5.0, 5.0]


# -- spaces -----------------------------------------------------------------------------------

ACTIONS = {
    "start": spaces.Discrete(3, start=5),
    "MultiDiscrete": spaces.MultiDiscrete(np.array([[2, 3], [4, 5]]), start=[[1, -1], [0, 9]]),
    "MultiBinary": spaces.MultiBinary((2, 2)),
    "Box": spaces.Box(np.float32([-0.1, 5]), np.float32([0.1, 6])),
    "unbounded": spaces.Box(-np.inf, np.inf, (3,), np.float32),
    "float64": spaces.Box(-1, 1, (2, 2), np.float64),
}


@pytest.mark.parametrize("name", ACTIONS)
@pytest.mark.thorough
def test_default_networks_serve_every_action_space(tiny_env, recorded_queue, name):
    space, queue = ACTIONS[name], recorded_queue()
    env = tiny_env(nested_space(), space)  # It refuses actions that are not of its space.
    agent = kerasrl.PPO(update_epochs=1)
    agent.compile(**EAGER)
    history = agent.fit(
        env,
        steps_per_epoch=4,
        batch_size=6,
        callbacks=[CollectRollouts(12)],
        replay=queue,
        seed=0,
        verbose=0,
    ).history
    assert np.isfinite(history["loss"]).all()
    assert (np.array(history["entropy"]) != 0).all()
    drawn = np.concatenate([rollout["action"][:, 0] for rollout in queue.rollouts])
    given = np.array(env.actions)
    assert drawn.dtype == given.dtype == space.dtype
    if isinstance(space, spaces.Box):
        np.testing.assert_array_equal(given, np.clip(drawn, space.low, space.high))
        assert np.array_equal(given, drawn) == (name == "unbounded")
    else:
        np.testing.assert_array_equal(given, drawn)
    observation = tf.nest.map_structure(lambda x: np.asarray(x)[None], env.reset()[0])
    (action,) = agent.predict(observation, verbose=0)
    assert space.contains(np.asarray(action))


def test_integers_in_a_box_are_refused(tiny_env):
    with pytest.raises(SpaceError, match="PPO acts with real numbers.*round within"):
        kerasrl.PPO().build(tiny_env(action_space=spaces.Box(0, 9, (2,), np.int64)))


@pytest.mark.parametrize("argument", ["actor", "critic"])
def test_networks_of_another_size_are_refused(tiny_env, argument):
    network = keras.Sequential([keras.Input((4,)), keras.layers.Dense(5)])
    with pytest.raises(NetworkError, match=f"{argument} must map .* to a float tensor of shape"):
        kerasrl.PPO(**{argument: network}).build(tiny_env())


# -- errors -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "rule"),
    [
        (
            {"batch_size": 3},
            "batch_size must divide a rollout, .* length=8 steps of 1 env.*8 in all.*3",
        ),
        ({"batch_size": 64}, "batch_size must divide a rollout"),
        ({"compiled": {"steps_per_execution": 3}}, "steps_per_execution=3 must divide both the 4"),
        (
            {"compiled": {"steps_per_execution": 4}, "steps": 6},
            "must divide both the 4 updates that a rollout is for and steps_per_epoch=6",
        ),
    ],
    ids=repr,
)
@pytest.mark.table
def test_what_does_not_go_with_a_rollout_is_refused(fit, arguments, rule):
    with pytest.raises(ArgumentError, match=rule):
        fit(**({"steps": 4} | arguments))


@pytest.mark.parametrize(
    ("kind", "collector", "own"),
    [
        ("ppo", Collect, "CollectRollouts"),
        ("ppo", CollectEpisodes, "CollectRollouts"),
        ("a2c", Collect, "CollectRollouts"),
        ("reinforce", CollectRollouts, "CollectEpisodes"),
        ("dqn", CollectRollouts, "Collect"),
        ("sac", CollectEpisodes, "Collect"),
    ],
)
@pytest.mark.table
def test_a_collector_of_another_kind_is_refused(make_agent, tiny_env, kind, collector, own):
    agent = make_agent(kind, EAGER)
    env = tiny_env(action_space=agent.action_space)
    rule = (
        rf"{kind.upper()} collects with \['{own}'\]; received \['{own}', '{collector.__name__}'\]"
    )
    with pytest.raises(ArgumentError, match=f"a run needs one callback that collects, and {rule}"):
        agent.fit(env, callbacks=[collector()], verbose=0)
    assert agent.run is None
    assert not env.actions


@pytest.mark.parametrize(
    ("kind", "replay", "own"),
    [("ppo", Uniform, "Queue"), ("a2c", Uniform, "Queue"), ("sac", Queue, "Uniform")],
)
@pytest.mark.table
def test_a_replay_of_another_kind_is_refused(make_agent, tiny_env, kind, replay, own):
    agent = make_agent(kind, EAGER)
    env = tiny_env(action_space=agent.action_space)
    rule = rf"{kind.upper()} learns from a kerasrl.replay.{own}; received replay=<kerasrl.replay"
    with pytest.raises(ArgumentTypeError, match=rule):
        agent.fit(env, replay=replay(), verbose=0)
    assert agent.run is None


@pytest.mark.parametrize(
    ("arguments", "rule"),
    [
        ({"gae_lambda": 1.5}, r"gae_lambda must be in \[0, 1\]; received 1.5"),
        ({"clip_range": 0.0}, "clip_range must be positive; received 0.0"),
        ({"target_kl": 0.0}, "target_kl must be positive or None; received 0.0"),
        ({"update_epochs": 0}, "update_epochs must be a positive int; received 0"),
        ({"discount": -0.1}, "discount must be in"),
        ({"reward_scale": 0.0}, "reward_scale must be positive; received 0.0"),
        ({"reward_scale": float("inf")}, "reward_scale must be positive; received inf"),
    ],
    ids=repr,
)
def test_bad_arguments_are_refused(arguments, rule):
    with pytest.raises(ArgumentError, match=rule):
        kerasrl.PPO(**arguments)


def test_the_clip_range_can_be_annealed(fit):
    agent, _ = fit(4, callbacks=[LinearSchedule("clip_range", 0.2, 0.1, steps=8)])
    np.testing.assert_allclose(agent.clip_range, 0.15)
    assert agent.get_config()["clip_range"] == 0.2


def test_defaults():
    agent = kerasrl.PPO()
    agent.compile()
    (collector,) = agent.default_callbacks()
    assert collector.length == 2048
    assert agent.default_batch_size == 64
    assert agent.update_epochs == 10
    assert float(agent.optimizer.learning_rate) == np.float32(3e-4)
    assert agent.optimizer.global_clipnorm == 0.5


def test_default_networks(tiny_env):
    agent = kerasrl.PPO()
    agent.build(tiny_env(action_space=spaces.Box(-1, 1, (3,), np.float32)))
    assert agent.actor.count_params() == 4 * 64 + 64 + 64 * 64 + 64 + 64 * 3 + 3 + 3
    assert agent.critic.count_params() == 4 * 64 + 64 + 64 * 64 + 64 + 64 + 1
    x = np.random.default_rng(0).normal(size=(100, 4)).astype(np.float32)
    parameters = agent.actor(x).numpy()
    assert np.abs(parameters).max() < 0.1  # So that it begins by acting evenly, at deviation 1.
    assert agent.critic(x).numpy().std() > 0.1
