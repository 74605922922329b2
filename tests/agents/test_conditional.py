"""`update_if` on one replica; tests/integration/test_distributed_on_policy.py has it on two."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasrl.training.conditional import update_if


@pytest.mark.parametrize("due", [False, True])
def test_an_update_happens_if_it_is_due(mode, due):
    variable = tf.Variable([1.0, 2.0])
    optimizer = keras.optimizers.Adam(0.5)
    optimizer.build([variable])

    def step(due):
        def update():
            optimizer.apply_gradients([(2.0 * variable, variable)])
            return tf.constant(7.0)

        return update_if(due, update, [variable, *optimizer.variables])

    step = mode(step)
    results = [float(step(tf.constant(due))) for _ in range(2)]
    assert results == [7.0 * due] * 2
    assert int(optimizer.iterations) == 2 * due
    # Two steps of Adam down a gradient of one sign, of about the learning rate each.
    np.testing.assert_allclose(variable, [1 - due, 2 - due], atol=0.05)


@pytest.mark.parametrize(
    "strategy", [tf.distribute.MirroredStrategy, tf.distribute.OneDeviceStrategy]
)
@pytest.mark.table
def test_one_replica_of_a_strategy_is_served(make_agent, batches, strategy):
    plain = make_agent("td3")
    with strategy("CPU:0" if strategy is tf.distribute.OneDeviceStrategy else ["CPU:0"]).scope():
        agent = make_agent("td3")
    for each in (plain, agent):
        each.fit(batches(plain, count=3), verbose=0)
    for one, another in zip(plain.get_weights(), agent.get_weights(), strict=True):
        np.testing.assert_allclose(one, another, atol=1e-6)


def test_what_is_not_due_is_not_computed():
    calls = tf.Variable(0)

    @tf.function
    def step(due):
        def update():
            calls.assign_add(1)
            return tf.zeros(())

        return update_if(due, update, [calls])

    for due in (False, True, False):
        step(tf.constant(due))
    assert int(calls) == 1
