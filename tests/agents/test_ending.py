"""Errors that Keras would take for the end of the data."""

import keras
import pytest
import tensorflow as tf

from kerasrl.callbacks import Collect, CollectEpisodes, CollectRollouts

pytestmark = pytest.mark.regression(45)

ERRORS = {
    "StopIteration": lambda: StopIteration("enough"),
    "OutOfRangeError": lambda: tf.errors.OutOfRangeError(None, None, "enough"),
}
HOOKS = (
    *("on_train_begin", "on_epoch_begin", "on_train_batch_begin"),
    *("on_train_batch_end", "on_epoch_end", "on_train_end"),
)


@pytest.fixture(params=ERRORS)
def enough(request):
    """Makes an error that an iterator ends with."""
    return ERRORS[request.param]


class Raising(keras.callbacks.Callback):
    def __init__(self, hook, error):
        super().__init__()
        setattr(self, hook, self._raise)
        self._error = error

    def _raise(self, *_, **__):
        raise self._error()

    def _implements_train_batch_hooks(self):
        return True


def collector(kind):
    if kind in ("ppo", "a2c"):
        return CollectRollouts(length=8)
    return CollectEpisodes(2, 10) if kind == "reinforce" else Collect(warmup_steps=32)


def fit(agent, env, *callbacks):
    with pytest.raises((StopIteration, tf.errors.OutOfRangeError), match="enough") as raised:
        size = None if isinstance(env, tf.data.Dataset) else agent.default_batch_size and 8
        agent.fit(
            env,
            epochs=2,
            steps_per_epoch=4,
            batch_size=size,
            callbacks=[*callbacks],
            verbose=0,
        )
    assert agent.run is None
    return raised.value


@pytest.mark.parametrize("kind", ["dqn", "sac", "ppo", "a2c", "reinforce"])
@pytest.mark.parametrize("fail_at", [3, 37])
@pytest.mark.table
def test_an_environment_that_raises_it_is_heard(make_agent, tiny_env, enough, kind, fail_at):
    class Ending(tiny_env):
        def step(self, action):
            if len(self.actions) == fail_at:
                raise enough()
            return super().step(action)

    arguments = {"update_epochs": 1} if kind == "ppo" else {}
    agent = make_agent(kind, {"run_eagerly": True}, **arguments)
    error = fit(agent, Ending(action_space=agent.action_space), collector(kind))
    assert any("environment 0" in note for note in error.__notes__)


@pytest.mark.parametrize("hook", HOOKS)
@pytest.mark.table
def test_a_callback_that_raises_it_is_named(make_agent, tiny_env, enough, hook):
    agent = make_agent("dqn", {"run_eagerly": True})
    error = fit(agent, tiny_env(), Raising(hook, enough), Collect(warmup_steps=32))
    assert error.__notes__ == ["in the callback Raising: _raise"]


@pytest.mark.table
def test_an_evaluation_that_raises_it_is_heard(make_agent, tiny_env, enough):
    class Ending(tiny_env):
        def step(self, action):
            raise enough()

    agent = make_agent("dqn", {"run_eagerly": True})
    evaluation = keras.callbacks.LambdaCallback(
        on_batch_end=lambda batch, logs: agent.evaluate(Ending(), verbose=0)
    )
    fit(agent, tiny_env(), evaluation, Collect(warmup_steps=32))


@pytest.mark.parametrize("eagerly", [True, False])
@pytest.mark.parametrize("data", ["environment", "dataset"])
@pytest.mark.table
def test_a_network_that_raises_it_is_heard(make_agent, tiny_env, batches, enough, eagerly, data):
    agent = make_agent("dqn", {"run_eagerly": eagerly})

    def train_step(batch):
        raise enough()

    agent.train_step = train_step
    if data == "dataset":
        fit(agent, batches(agent, count=4).repeat())
    else:
        fit(agent, tiny_env(), Collect(warmup_steps=32))


@pytest.mark.parametrize("data", ["environment", "dataset"])
@pytest.mark.table
def test_a_graph_that_ends_with_it_is_heard(make_agent, tiny_env, batches, data):
    class Ending(keras.layers.Layer):
        def call(self, inputs):
            (outputs,) = tf.py_function(self._stop, [inputs], [tf.float32])
            return tf.ensure_shape(outputs, inputs.shape)

        def _stop(self, inputs):
            if len(inputs) > 4:
                raise StopIteration("enough")
            return inputs

    agent = make_agent("dqn", build=False)
    agent.q_network = keras.Sequential([keras.Input((4,)), Ending(), keras.layers.Dense(2)])
    agent.build(tiny_env())
    if data == "dataset":
        fit(agent, batches(agent).repeat())
    else:
        fit(agent, tiny_env(), Collect(warmup_steps=32))


@pytest.mark.parametrize("eagerly", [True, False])
@pytest.mark.table
def test_a_dataset_that_ends_ends_the_run_as_in_keras(make_agent, batches, eagerly):
    agent = make_agent("dqn", {"run_eagerly": eagerly})
    history = agent.fit(batches(agent, count=3), epochs=2, verbose=0)
    assert history.epoch == [0, 1]
    agent.fit(batches(agent, count=3), epochs=2, steps_per_epoch=2, verbose=0)
    assert int(agent.gradient_steps) == 6 + 3


@pytest.mark.table
def test_what_was_being_handled_is_still_shown(make_agent, tiny_env, enough):
    class Handling(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            try:
                raise KeyError("first")
            except KeyError:
                raise enough() from None

    agent = make_agent("dqn", {"run_eagerly": True})
    error = fit(agent, tiny_env(), Handling(), Collect(warmup_steps=32))
    assert isinstance(error.__context__, KeyError)
