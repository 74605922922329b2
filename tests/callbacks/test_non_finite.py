import warnings

import keras
import numpy as np
import pytest

from kerasrl.callbacks import Checkpoint, Collect
from kerasrl.errors import NonFiniteLoss

SHORT = {"steps_per_epoch": 8, "batch_size": 4, "seed": 0, "verbose": 0}


@pytest.fixture
def diverge(make_agent, tiny_env, small_replay):
    """Fits a DQN whose steps are far too large."""

    def run(callbacks=(), compiled=None, **arguments):
        agent = make_agent("dqn", {"optimizer": keras.optimizers.SGD(3e38)} | (compiled or {}))
        callbacks = [Collect(warmup_steps=32), *callbacks]
        agent.fit(tiny_env(), callbacks=callbacks, replay=small_replay(), **(SHORT | arguments))
        return agent

    return run


@pytest.mark.fault(43)
@pytest.mark.parametrize("steps_per_execution", [1, 4])
@pytest.mark.table
def test_a_loss_that_is_not_finite_is_an_error_that_says_where_it_came_from(
    diverge, steps_per_execution
):
    with pytest.raises(NonFiniteLoss) as raised:
        diverge(compiled={"steps_per_execution": steps_per_execution})
    message = str(raised.value)
    assert "DQN gave loss=" in message
    assert "by gradient step" in message
    assert "weights are not finite, and the largest of the others is" in message


@pytest.mark.fault(43)
def test_the_last_good_checkpoint_is_named(diverge, make_agent, tiny_env, tmp_path):
    class Explode(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                weights = self.model.get_weights()
                self.model.set_weights([w * np.nan if w.dtype == "f4" else w for w in weights])

    agent = make_agent("dqn")
    callbacks = [Collect(warmup_steps=32), Explode(), Checkpoint(tmp_path)]
    with pytest.raises(NonFiniteLoss, match=r"The last checkpoint before it is .*step-0*16\."):
        agent.fit(tiny_env(), callbacks=callbacks, epochs=4, **SHORT)
    assert sorted(path.name for path in tmp_path.glob("step-*"))[-1] == "step-000000000016"


@pytest.mark.fault(43)
def test_terminate_on_nan_keeps_its_meaning(diverge):
    agent = diverge([keras.callbacks.TerminateOnNaN()], epochs=3)
    assert agent.history.epoch == [0]
    assert not np.isfinite(agent.history.history["loss"]).all()


@pytest.mark.fault(43)
def test_a_policy_of_warning_goes_on_after_one_warning(diverge):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        agent = diverge(nan_policy="warn")
    assert int(agent.optimizer.iterations) == 8
    assert len([w for w in caught if "DQN gave loss" in str(w.message)]) == 1


@pytest.mark.fault(43)
def test_a_policy_of_zeros_is_for_environments_only(diverge):
    with pytest.raises(NonFiniteLoss):
        diverge(nan_policy="zero")
