import keras
import numpy as np
import pytest

from kerasrl.callbacks import Collect, LinearSchedule
from kerasrl.errors import ArgumentError


def recorder(read, seen):
    return keras.callbacks.LambdaCallback(
        on_train_begin=lambda logs: seen.append(read()),
        on_batch_end=lambda batch, logs: seen.append(read()),
    )


@pytest.mark.parametrize(
    ("position", "value"), [(0, 1.0), (1, 0.8), (3, 0.4), (4, 0.2), (5, 0.2), (10**9, 0.2)]
)
@pytest.mark.parametrize("unit", ["steps", "env_steps"])
def test_value(unit, position, value):
    schedule = LinearSchedule("epsilon", 1.0, 0.2, **{unit: 4})
    np.testing.assert_allclose(schedule.value(position), value)


def test_gradient_steps_go_on_from_one_fit_to_the_next(make_agent, batches):
    agent, seen = make_agent("dqn", {"run_eagerly": True}), []
    schedule = LinearSchedule("epsilon", 1.0, 0.2, steps=4)
    for _ in range(2):
        record = recorder(lambda: round(float(agent.epsilon), 6), seen)
        agent.fit(batches(agent, count=3), callbacks=[schedule, record], verbose=0)
    assert seen == [1.0, 0.8, 0.6, 0.4, 0.4, 0.2, 0.2, 0.2]


def test_environment_steps_count_the_warm_up(make_agent, tiny_env, small_replay):
    agent, seen = make_agent("dqn", {"run_eagerly": True}), []
    agent.fit(
        tiny_env(),
        steps_per_epoch=3,
        batch_size=4,
        callbacks=[
            LinearSchedule("epsilon", 1.0, 0.0, env_steps=40),
            recorder(lambda: round(float(agent.epsilon), 6), seen),
            Collect(2, warmup_steps=32, updates_per_turn=1),
        ],
        replay=small_replay(),
        verbose=0,
    )
    assert seen == [0.2, 0.15, 0.1, 0.05]


def test_a_weight_within_the_optimizer(make_agent, batches):
    agent, seen = make_agent("sac", {"run_eagerly": True}), []
    schedule = LinearSchedule("critic_optimizer.learning_rate", 0.4, 0.1, steps=3)
    record = recorder(lambda: round(float(agent.critic_optimizer.learning_rate), 6), seen)
    agent.fit(batches(agent, count=4), callbacks=[schedule, record], verbose=0)
    assert seen == [0.4, 0.3, 0.2, 0.1, 0.1]
    assert float(agent.optimizer.learning_rate) == np.float32(0.1)


def test_a_change_of_epsilon_reaches_the_collector(make_agent, tiny_env, small_replay):
    class Counting(Collect):
        def act(self, observation):
            (probabilities,) = self._policy.output(observation)
            smallest.append(round(float(probabilities.min()), 4))
            return super().act(observation)

    smallest = []
    make_agent("dqn", {"run_eagerly": True}).fit(
        tiny_env(),
        steps_per_epoch=3,
        batch_size=4,
        callbacks=[
            Counting(1, 32, updates_per_turn=1),
            LinearSchedule("epsilon", 1.0, 0.0, steps=2),
        ],
        replay=small_replay(),
        verbose=0,
    )
    # Half of epsilon as it was when the collector stepped: the schedule comes after it.
    assert smallest == [0.5, 0.25, 0.0]


@pytest.mark.parametrize(
    ("arguments", "rule"),
    [
        ({}, "exactly one of env_steps and steps"),
        ({"steps": 1, "env_steps": 1}, "exactly one of env_steps and steps"),
        ({"steps": 0}, "steps must be a positive int or None; received 0"),
        ({"env_steps": -1}, "env_steps must be a positive int or None; received -1"),
    ],
    ids=repr,
)
def test_the_length_must_be_given_once(arguments, rule):
    with pytest.raises(ArgumentError, match=rule):
        LinearSchedule("epsilon", 1.0, 0.1, **arguments)


@pytest.mark.parametrize(
    ("weight", "rule"),
    [
        ("no_such", "DQN has no 'no_such'"),
        ("optimizer.no_such", "DQN has no 'optimizer.no_such'"),
        ("discount", r"'discount' of DQN is 0.99. Make it with add_weight\(\)"),
    ],
)
@pytest.mark.table
def test_what_is_no_weight_is_refused(make_agent, batches, weight, rule):
    agent = make_agent("dqn", {"run_eagerly": True})
    with pytest.raises(ArgumentError, match=rule):
        agent.fit(batches(agent), callbacks=[LinearSchedule(weight, 1, 0, steps=1)], verbose=0)
