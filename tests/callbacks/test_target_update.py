import keras
import numpy as np
import pytest

from kerasrl.callbacks import TargetUpdate
from kerasrl.errors import ArgumentError


@pytest.mark.parametrize("step_size", [0.5, 0.25, 1.0])
@pytest.mark.table
def test_step_size(make_agent, batches, step_size):
    agent = make_agent("dqn", {"run_eagerly": True})
    (target,) = agent.targets
    kernel, moved = target.network.weights[0], agent.q_network.weights[0]
    kernel.assign(0 * kernel + 8)
    agent.fit(batches(agent), callbacks=[TargetUpdate(step_size=step_size)], verbose=0)
    np.testing.assert_allclose(kernel, 8 * (1 - step_size) + step_size * moved, atol=1e-6)


def test_hand_values(make_agent, batches):
    # The source stands at 4; half of the way, every second step: 0, 0, 2, 2, 3, 3, 3.5.
    agent = make_agent("dqn")
    agent.compile(keras.optimizers.SGD(0.0), run_eagerly=True)
    (target,) = agent.targets
    agent.q_network.set_weights([0 * w + 4 for w in agent.q_network.get_weights()])
    target.network.set_weights([0 * w for w in target.network.get_weights()])
    seen = []
    record = keras.callbacks.LambdaCallback(
        on_batch_end=lambda batch, logs: seen.append(float(target.network.weights[1][0]))
    )
    update = TargetUpdate(period=2, step_size=0.5)
    agent.fit(batches(agent, count=7), callbacks=[update, record], verbose=0)
    assert seen == [0, 2, 2, 3, 3, 3.5, 3.5]


def test_the_period_goes_on_from_one_fit_to_the_next(make_agent, batches):
    agent = make_agent("dqn", {"run_eagerly": True})
    (target,) = agent.targets
    update = TargetUpdate(period=3)
    before = target.network.get_weights()[0]
    agent.fit(batches(agent, count=2), callbacks=[update], verbose=0)
    np.testing.assert_array_equal(target.network.get_weights()[0], before)
    agent.fit(batches(agent, count=1), callbacks=[update], verbose=0)
    assert (target.network.get_weights()[0] != before).any()


@pytest.mark.parametrize(("kind", "period", "step_size"), [("dqn", 1, 0.005), ("sac", 1, 0.005)])
@pytest.mark.table
def test_defaults_of_the_agents(make_agent, batches, kind, period, step_size):
    agent = make_agent(kind, {"run_eagerly": True})
    agent.fit(batches(agent), verbose=0)
    (target,) = agent.targets
    assert int(target.period) == period
    np.testing.assert_allclose(target.step_size, step_size)


@pytest.mark.parametrize(
    "arguments",
    [{"period": 0}, {"period": -1}, {"period": 1.5}, {"step_size": 0}, {"step_size": 1.1}],
    ids=repr,
)
def test_bad_arguments_are_refused(arguments):
    with pytest.raises(ArgumentError, match=f"{next(iter(arguments))} must be"):
        TargetUpdate(**arguments)
