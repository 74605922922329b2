"""The count of gradient steps in an agent's life."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import kerasrl
from kerasrl.callbacks import Checkpoint, Collect, LinearSchedule

pytestmark = pytest.mark.regression(6)

KINDS = ("dqn", "ddpg", "td3", "d4pg", "sac")


class Acting(Collect):
    """Counts how often the agent itself acts."""

    def __init__(self):
        super().__init__(warmup_steps=32)
        self.acted = 0

    def act(self, observation):
        self.acted += 1
        return super().act(observation)

    def on_train_batch_begin(self, batch, logs=None):
        super().on_train_batch_begin(batch, logs)
        self.model.stop_training = True


def compile_again(agent):
    names = list(agent.optimized_variables())
    agent.compile(**{name: keras.optimizers.SGD(0.01) for name in names}, run_eagerly=True)


def warm_up(agent, tiny_env):
    collect = Acting()
    env = tiny_env(action_space=agent.action_space)
    agent.fit(env, steps_per_epoch=1, callbacks=[collect], verbose=0)
    return collect.acted


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.table
def test_a_trained_agent_warms_up_with_its_own_actions_whatever_its_optimizers(
    make_agent, tiny_env, batches, kind
):
    agent = make_agent(kind, {"run_eagerly": True})
    agent.fit(batches(agent, count=2), verbose=0)
    assert int(agent.gradient_steps) == 2
    compile_again(agent)
    assert warm_up(agent, tiny_env) >= 32
    assert int(agent.gradient_steps) == 3


def test_weights_that_were_loaded_before_compiling_are_a_trained_agents(
    make_agent, tiny_env, batches, tmp_path
):
    agent = make_agent("dqn", {"run_eagerly": True})
    agent.fit(batches(agent, count=2), verbose=0)
    agent.save_weights(tmp_path / "agent.weights.h5")
    other = make_agent("dqn")
    other.load_weights(tmp_path / "agent.weights.h5")
    compile_again(other)
    assert int(other.gradient_steps) == 2
    assert warm_up(other, tiny_env) >= 32


def test_a_new_agent_warms_up_at_random(make_agent, tiny_env):
    assert warm_up(make_agent("dqn", {"run_eagerly": True}), tiny_env) <= 1


@pytest.mark.parametrize("steps_per_execution", [1, 3])
@pytest.mark.table
def test_every_step_counts(make_agent, batches, steps_per_execution):
    agent = make_agent("dqn", {"steps_per_execution": steps_per_execution})
    agent.fit(batches(agent, count=7), epochs=2, verbose=0)
    assert int(agent.gradient_steps) == 14


def test_it_is_saved_and_gone_on_with(make_agent, batches, tmp_path):
    agent = make_agent("sac", {"run_eagerly": True})
    agent.fit(batches(agent, count=3), callbacks=[Checkpoint(tmp_path / "run")], verbose=0)
    agent.save(tmp_path / "agent.keras")
    assert int(kerasrl.load(tmp_path / "agent.keras").gradient_steps) == 3
    resumed = make_agent("sac", {"run_eagerly": True})
    resumed.fit(
        batches(resumed, count=3), epochs=2, callbacks=[Checkpoint(tmp_path / "run")], verbose=0
    )
    assert int(resumed.gradient_steps) == 6


def test_annealing_goes_on_with_another_optimizer(make_agent, batches):
    agent = make_agent("dqn", {"run_eagerly": True})
    schedule = LinearSchedule("epsilon", 1.0, 0.0, steps=8)
    agent.fit(batches(agent, count=2), callbacks=[schedule], verbose=0)
    compile_again(agent)
    agent.fit(batches(agent, count=2), callbacks=[schedule], verbose=0)
    assert float(agent.epsilon) == 0.5


def test_noise_goes_on_with_another_optimizer(make_agent, batches):
    agent = make_agent("sac", {"run_eagerly": True})
    first = agent.random_normal((4, 2), salt=0).numpy()
    agent.fit(batches(agent, count=1), verbose=0)
    compile_again(agent)
    assert np.abs(agent.random_normal((4, 2), salt=0).numpy() - first).min() > 0


def test_an_agent_that_keeps_metrics_of_its_own_is_counted_all_the_same(tiny_env, batches):
    class Own(kerasrl.DQN):
        def train_step(self, batch):
            return {"loss": tf.reduce_mean(batch["reward"])}

    agent = Own(keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)]))
    agent.build(tiny_env())
    agent.compile(steps_per_execution=2)
    agent.fit(batches(agent, count=4), epochs=2, verbose=0)
    assert int(agent.gradient_steps) == 8


@pytest.mark.parametrize("kind", ["dqn", "ppo"])
@pytest.mark.table
def test_files_of_earlier_versions_load(make_agent, tmp_path, kind):
    from kerasrl.saving import weights

    agent = make_agent(kind)
    kerasrl.saving.make_slots(agent)
    agent.optimizer.iterations.assign(5)
    now, metric = weights.arrays_of(agent), "metrics/mean_2/vars/0"
    count = max(int(name.removeprefix("vars/")) for name in now if name.startswith("vars/"))
    earlier = {n: a for n, a in now.items() if n not in (f"vars/{count}", metric)}
    assert len(now) - len(earlier) == 2
    (tmp_path / "agent.weights.h5").write_bytes(weights.packed(earlier))
    other = make_agent(kind)
    other.load_weights(tmp_path / "agent.weights.h5")
    assert int(other.gradient_steps) == int(other.optimizer.iterations) == 5
