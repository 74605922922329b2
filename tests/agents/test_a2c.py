import gymnasium as gym
import keras
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv

import kerasrl
from kerasrl.callbacks import CollectRollouts
from kerasrl.errors import ArgumentError
from kerasrl.testing import CountingEnv, RandomEnv

EAGER = {"run_eagerly": True}


class Batches(keras.callbacks.Callback):
    """Notes what `train_step` was given, one dict of arrays for each."""

    def __init__(self, agent):
        super().__init__()
        self.given = []
        step = agent.train_step

        def train_step(batch):
            self.given.append({key: leaf.numpy() for key, leaf in batch.items()})
            return step(batch)

        agent.train_step = train_step


def rows(batches):
    return np.concatenate([batch["observation"] for batch in batches]).tolist()


@pytest.mark.parametrize(("batch_size", "updates"), [(None, 1), (5, 2)])
@pytest.mark.table
def test_a_rollout_is_learned_from_once(recorded_queue, batch_size, updates):
    agent, queue = kerasrl.A2C(), recorded_queue()
    agent.compile(**EAGER)
    batches = Batches(agent)
    history = agent.fit(
        CountingEnv,
        num_envs=2,
        steps_per_epoch=2 * updates,
        batch_size=batch_size,
        replay=queue,
        verbose=0,
    ).history
    assert [len(batch["weight"]) for batch in batches.given] == [10 // updates] * 2 * updates
    for i, rollout in enumerate(queue.rollouts):
        learned = rows(batches.given[i * updates : (i + 1) * updates])
        collected = rollout["observation"].reshape(10, 2).tolist()
        assert (learned == collected) == (batch_size is None)  # The first to the last step, or not.
        assert sorted(learned) == sorted(collected)
    assert set(history) == {
        *("loss", "policy_loss", "value_loss", "entropy", "explained_variance", "learning_rate"),
        *("episode_return", "episode_length", "env_steps", "env_steps_per_second"),
    }
    assert history["env_steps"] == [20.0]


def test_a_budget_is_used_up(tiny_env, make_agent):
    agent, made = make_agent("a2c", EAGER), []

    def factory():
        made.append(tiny_env())
        return made[-1]

    agent.fit(factory, num_envs=2, env_steps=39, verbose=0)
    assert [len(env.actions) for env in made] == [20, 20]  # Four rollouts of 5.
    assert int(agent.optimizer.iterations) == 4


def test_a_rollout_in_which_all_environments_only_reset_changes_nothing():
    env = SyncVectorEnv([lambda: CountingEnv((2,))] * 2, autoreset_mode=AutoresetMode.NEXT_STEP)
    agent = kerasrl.A2C(normalize_advantages=True, normalize_observations=True)
    agent.compile(keras.optimizers.SGD(0.1), **EAGER)
    weights = []
    note = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: weights.append(
            agent.critic.trainable_weights[-1].numpy()
        )
    )
    agent.fit(env, steps_per_epoch=6, callbacks=[CollectRollouts(1), note], verbose=0)
    assert np.isfinite(weights).all()
    moved = (np.diff(np.ravel(weights)) != 0).tolist()
    assert moved == [True, False, True, True, False]  # Steps 2, 3 (a reset), 4, 5, and 6 (a reset).
    assert int(agent.env_steps) == 8


class Watching(RandomEnv):
    """Keeps the observations that were acted on."""

    def reset(self, **arguments):
        self.observation = super().reset(**arguments)[0]
        return self.observation, {}

    def step(self, action):
        self.seen.append(self.observation)
        self.observation, *rest = super().step(action)
        return self.observation, *rest


BODY = gym.spaces.Dict(
    {
        "position": gym.spaces.Box(-5, 20, (3,), np.float32),
        "gear": gym.spaces.Discrete(3),
    }
)


@pytest.mark.parametrize("autoreset", [None, AutoresetMode.NEXT_STEP])
@pytest.mark.table
def test_normalisation_adapts_to_what_was_observed_while_collecting(autoreset, tmp_path):
    made = []

    def factory():
        made.append(Watching(BODY))
        made[-1].seen = []
        return made[-1]

    env = factory if autoreset is None else SyncVectorEnv([factory] * 2, autoreset_mode=autoreset)
    agent = kerasrl.A2C(normalize_observations=True)
    agent.compile(keras.optimizers.SGD(0.01), **EAGER)
    counts = []

    class Note(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            counts.append([len(env.seen) for env in made])

    agent.fit(
        env,
        num_envs=1 if autoreset else 2,
        steps_per_epoch=6,
        seed=0,
        callbacks=[Note()],
        verbose=0,
    )
    # The statistics are of all but the last rollout: they change just before one is collected.
    seen = [
        o["position"] for env, count in zip(made, counts[-2], strict=True) for o in env.seen[:count]
    ]
    first, second = agent.observation_normalizers  # Of the actor and of the critic.
    index = sorted(BODY).index("position")
    for layer in (first, second):
        assert int(layer.count) == len(seen) == sum(counts[-2])
        np.testing.assert_allclose(layer.means[index], np.mean(seen, axis=0), rtol=1e-4)
        np.testing.assert_allclose(layer.variances[index], np.var(seen, axis=0), rtol=1e-4)
    if autoreset is None:
        assert len(seen) == 50
    else:
        assert len(seen) < 50  # Steps of the environment's own to reset are none of them.

    # It is a part of the agent, and is saved with it.
    observation = {"position": np.float32([[2, 5, 9]]), "gear": np.array([1])}
    expected = agent.critic(observation)
    agent.save(tmp_path / "agent.keras")
    loaded = kerasrl.load(tmp_path / "agent.keras")
    np.testing.assert_array_equal(loaded.critic(observation), expected)
    np.testing.assert_array_equal(loaded(observation), agent(observation))
    first.means[index].assign_add([1.0, 1.0, 1.0])
    second.means[index].assign_add([1.0, 1.0, 1.0])
    assert (agent.critic(observation) != expected).numpy().any()


def test_default_networks_are_normalised_only_if_asked(tiny_env):
    agent = kerasrl.A2C()
    agent.build(tiny_env())
    assert agent.observation_normalizers == []


@pytest.mark.parametrize(
    ("arguments", "rule"),
    [
        ({"gae_lambda": -0.1}, r"gae_lambda must be in \[0, 1\]; received -0.1"),
        ({"reward_scale": -1.0}, "reward_scale must be positive"),
    ],
    ids=repr,
)
def test_bad_arguments_are_refused(arguments, rule):
    with pytest.raises(ArgumentError, match=rule):
        kerasrl.A2C(**arguments)


def test_more_steps_per_execution_than_updates_of_a_rollout_are_refused(make_agent, tiny_env):
    agent = make_agent("a2c", {"steps_per_execution": 2})
    with pytest.raises(ArgumentError, match="steps_per_execution=2 must divide both the 1 updates"):
        agent.fit(tiny_env(), verbose=0)
