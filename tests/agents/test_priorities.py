"""Priorities on their way from the gradient step to the replay."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import kerasrl
from kerasrl.callbacks import Collect
from kerasrl.errors import ArgumentError
from kerasrl.replay import Prioritized, Uniform

MODES = {"eager": {"run_eagerly": True}, "graph": {}, "xla": {"jit_compile": True}}


class Recorded(Prioritized):
    """Remembers what it is given."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.updates = []

    def update_priorities(self, keys, priorities):
        self.updates.append((np.array(keys), np.array(priorities)))
        super().update_priorities(keys, priorities)


def made(agent=kerasrl.DQN, **arguments):
    network = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    agent = agent(network)
    agent.compile(keras.optimizers.SGD(0.01), **arguments)
    return agent


@pytest.mark.parametrize("steps_per_execution", [1, 3])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.table
def test_what_the_step_gives_comes_to_the_replay(tiny_env, mode, steps_per_execution):
    agent = made(steps_per_execution=steps_per_execution, **MODES[mode])
    with Recorded(64) as replay:
        agent.fit(
            tiny_env(),
            epochs=2,
            steps_per_epoch=7,  # No multiple of the steps of an execution.
            batch_size=8,
            replay=replay,
            callbacks=[Collect(warmup_steps=32)],
            verbose=0,
        )
        sizes = [len(keys) // 8 for keys, _ in replay.updates]
        known = set(np.concatenate([batch["key"] for batch in replay.dataset(32).take(40)]))
    assert sizes == ([1] * 14 if steps_per_execution == 1 else [3, 3, 1, 3, 3, 1])
    for keys, priorities in replay.updates:
        assert keys.dtype == np.int64 and priorities.dtype == np.float32
        assert set(keys) & known and (priorities > 0).all()


def test_keys_and_priorities_belong_together(tiny_env):
    """By hand, with priorities that are known: 1 more than the reward."""

    class Rewarded(kerasrl.DQN):
        def train_step(self, batch):
            self.prioritize(batch, batch["reward"] + 1)
            return self.track(loss=0.0, q_value=0.0, td_error=0.0)

    agent = made(Rewarded)
    agent.build(tiny_env())
    with Recorded(64) as replay:
        replay.open(agent.experience().spec(kerasrl.envs.EnvSpec(tiny_env())))
        rows = replay.packer.rows(16)
        rows[replay.packer.fields["reward"][0]] = np.arange(16)
        replay.insert(rows)
        replay.flush()
        for batch in replay.dataset(8).take(3):
            agent.train_on_batch(batch)
            replay.update_priorities(*agent.take_priorities())
            keys, priorities = replay.updates[-1]
            assert keys.tolist() == batch["key"].numpy().tolist()
            assert priorities.tolist() == (batch["reward"].numpy() + 1).tolist()
    assert agent.take_priorities()[0].shape == (0,)


def test_nothing_happens_without_keys(tiny_env):
    agent = made()
    with Uniform(64) as replay:
        agent.fit(
            tiny_env(),
            steps_per_epoch=4,
            batch_size=8,
            replay=replay,
            verbose=0,
            callbacks=[Collect(warmup_steps=64)],
        )
    keys, priorities = agent.take_priorities()
    assert keys.shape == priorities.shape == (0,)


class Heedless(kerasrl.DQN):
    """Gives no priorities."""

    def prioritize(self, batch, priorities):
        pass


def test_an_agent_without_priorities_trains_all_the_same(tiny_env):
    agent = made(Heedless)
    with Recorded(64) as replay:
        agent.fit(
            tiny_env(),
            steps_per_epoch=4,
            batch_size=8,
            replay=replay,
            verbose=0,
            callbacks=[Collect(warmup_steps=32)],
        )
    assert [len(keys) for keys, _ in replay.updates] == [0] * 4


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.table
def test_more_than_one_run_and_batch_size(tiny_env, mode):
    agent = made(steps_per_execution=2, **MODES[mode])
    with Recorded(64) as replay:
        for batch_size in (8, 4, 8):
            replay.updates.clear()
            agent.fit(
                tiny_env(),
                steps_per_epoch=4,
                batch_size=batch_size,
                replay=replay,
                verbose=0,
                callbacks=[Collect(warmup_steps=32)],
            )
            assert [len(keys) for keys, _ in replay.updates] == [2 * batch_size] * 2


def test_files_have_nothing_of_it(tiny_env, tmp_path):
    agent = made()
    with Recorded(64) as replay:
        agent.fit(
            tiny_env(),
            steps_per_epoch=2,
            batch_size=8,
            replay=replay,
            verbose=0,
            callbacks=[Collect(warmup_steps=32)],
        )
    twin = made()
    twin.build(tiny_env())
    assert [v.shape for v in agent.variables] == [v.shape for v in twin.variables]
    agent.save(tmp_path / "agent.keras")
    named = {"DQN": kerasrl.DQN}
    loaded = kerasrl.load(tmp_path / "agent.keras", custom_objects=named)
    for one, other in zip(agent.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_there_is_one_priority_for_every_item():
    agent = made()
    batch = {"key": tf.zeros(4, tf.int64)}
    with pytest.raises(ArgumentError, match=r"one priority for every item, \(4,\); received \(\)"):
        agent.prioritize(batch, tf.constant(1.0))


@pytest.mark.parametrize("given", [None, 3])
def test_weights_weigh(given):
    agent, x = made(), tf.constant([1.0, 2.0, 3.0, 6.0])
    batch = {} if given is None else {"weight": tf.constant([1.0, 0.5, 0.0, 0.25])}
    assert float(agent.mean(batch, x)) == (3.0 if given is None else 3.5 / 4)
