"""What is left of a run that ends badly, or that meets another one."""

import threading
import warnings

import keras
import numpy as np
import pytest
from leftovers import counts, is_listened_on, more_than, port_of

import kerasrl
from kerasrl.callbacks import Collect, Evaluation
from kerasrl.errors import AgentStateError

SHORT = {"steps_per_epoch": 8, "batch_size": 4, "verbose": 0}


class Spy(keras.callbacks.Callback):
    """Notes the port of the replay's server, if there is one, and may raise at some point."""

    def __init__(self, raises=None, at="on_train_batch_end"):
        super().__init__()
        self.raises, self.at, self.port, self.closed = raises, at, None, 0

    def _point(self, name):
        self.port = port_of(self.model.run.replay)
        assert self.port is None or is_listened_on(self.port)
        if self.raises is not None and name == self.at:
            raise self.raises

    def on_train_begin(self, logs=None):
        self._point("on_train_begin")

    def on_train_batch_end(self, batch, logs=None):
        self._point("on_train_batch_end")

    def on_epoch_end(self, epoch, logs=None):
        self._point("on_epoch_end")

    def close(self):
        self.closed += 1


@pytest.fixture
def factory(tiny_env):
    """Makes environments and keeps them in `factory.made`."""

    def make():
        make.made.append(tiny_env(**make.arguments))
        return make.made[-1]

    make.made, make.arguments = [], {}
    return make


def collect():
    return Collect(warmup_steps=32)


@pytest.mark.fault(59)
@pytest.mark.parametrize(
    "error",
    [
        *[(RuntimeError("boom"), at) for at in ("on_train_begin", "on_epoch_end")],
        (RuntimeError("boom"), "on_train_batch_end"),
        (KeyboardInterrupt(), "on_train_batch_end"),
        (SystemExit(3), "on_train_batch_end"),
    ],
    ids=repr,
)
@pytest.mark.thorough
def test_an_exception_in_a_callback(make_agent, factory, error):
    raised, at = error
    agent, spy = make_agent("dqn", {"run_eagerly": True}), Spy(raised, at)
    evaluation = Evaluation(factory)
    with pytest.raises(type(raised)) as caught:
        agent.fit(factory, num_envs=2, callbacks=[spy, evaluation, collect()], **SHORT)
    notes = getattr(caught.value, "__notes__", [])
    assert (f"in the callback Spy: {at}" in notes) == isinstance(raised, Exception)
    assert len(factory.made) in (2, 3)  # With the one to evaluate in, if it came to that.
    assert all(env.closed for env in factory.made)
    assert not is_listened_on(spy.port)
    assert spy.closed == 1
    assert agent.run is None
    history = agent.fit(factory, callbacks=[collect()], **SHORT).history
    assert np.isfinite(history["loss"]).all()


@pytest.mark.fault(1)
@pytest.mark.parametrize("fail_at", [1, 20, 35], ids=["first", "warm-up", "training"])
@pytest.mark.table
def test_an_exception_in_an_environment(make_agent, factory, fail_at):
    agent, spy = make_agent("dqn", {"run_eagerly": True}), Spy()
    factory.arguments = {"fail_at": fail_at}
    with pytest.raises(OSError, match="the simulator crashed"):
        agent.fit(factory, callbacks=[spy, collect()], **(SHORT | {"steps_per_epoch": 64}))
    assert [env.closed for env in factory.made] == [True]
    assert not is_listened_on(spy.port)
    assert agent.run is None
    factory.arguments = {}
    agent.fit(factory, callbacks=[collect()], **SHORT)


def test_what_the_user_made_stays_open(make_agent, tiny_env):
    env = tiny_env(fail_at=36)
    agent = make_agent("dqn", {"run_eagerly": True})
    with kerasrl.replay.Uniform(32) as replay:
        with pytest.raises(OSError, match="the simulator crashed"):
            agent.fit(env, replay=replay, callbacks=[collect()], **SHORT)
        assert not env.closed
        assert replay.size == 32
        agent.fit(env, replay=replay, callbacks=[collect()], **SHORT)
    assert len(env.actions) == 36 + 8


@pytest.mark.thorough
def test_nothing_is_leaked(make_agent, factory):
    agent = make_agent("dqn", {"run_eagerly": True})

    def failing_run():
        with pytest.raises(RuntimeError):
            agent.fit(factory, callbacks=[Spy(RuntimeError("boom")), collect()], **SHORT)

    def finished_run():
        agent.fit(factory, callbacks=[collect()], **SHORT)

    for run in (failing_run, finished_run):
        run()
        before = counts()
        for _ in range(6):
            run()
        assert more_than(before, allowed=3).max() <= 3


def test_an_evaluation_that_fails(make_agent, factory, tiny_env):
    agent, spy = make_agent("dqn", {"run_eagerly": True}), Spy()
    with pytest.raises(OSError, match="the simulator crashed"):
        agent.fit(
            factory,
            validation_data=lambda: tiny_env(fail_at=3),
            callbacks=[spy, collect()],
            **SHORT,
        )
    assert factory.made[0].closed
    assert not is_listened_on(spy.port)


def test_a_failure_of_one_close_does_not_keep_the_others_from_closing(make_agent, factory):
    class Bad(Spy):
        def close(self):
            raise RuntimeError("cannot close")

    agent, spy = make_agent("dqn", {"run_eagerly": True}), Bad()
    with pytest.raises(RuntimeError, match="cannot close"):
        agent.fit(factory, callbacks=[spy, collect()], **SHORT)
    assert factory.made[0].closed
    assert not is_listened_on(spy.port)
    assert agent.run is None


@pytest.mark.fault(54)
def test_fit_from_another_thread(make_agent, factory):
    agent, results = make_agent("dqn"), []

    def work():
        results.append(agent.fit(factory, callbacks=[collect()], **SHORT).history)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(60)
    assert np.isfinite(results[0]["loss"]).all()
    assert factory.made[0].closed


@pytest.mark.fault(53)
def test_two_agents_in_two_threads(make_agent, tiny_env):
    agents = [make_agent("dqn"), make_agent("sac")]
    envs = [tiny_env(action_space=agent.action_space) for agent in agents]
    ports, failures = [], []

    def work(agent, env):
        meet = keras.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, logs: barrier.wait(60))
        spy = Spy()
        try:
            agent.fit(env, callbacks=[meet, spy, collect()], epochs=2, **SHORT)
            ports.append(spy.port)
        except BaseException as error:
            failures.append(error)
            barrier.abort()

    barrier = threading.Barrier(2)
    threads = [threading.Thread(target=work, args=both) for both in zip(agents, envs, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(100)
    assert not failures
    assert len(ports) == 2 and (len(set(ports)) == 2 or not any(ports))
    assert [int(agent.optimizer.iterations) for agent in agents] == [16, 16]
    assert not any(is_listened_on(port) for port in ports)


@pytest.mark.fault(55)
def test_fit_called_twice_at_once(make_agent, factory, tiny_env):
    agent, errors = make_agent("dqn", {"run_eagerly": True}), []

    class Again(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch == 1:
                thread = threading.Thread(target=self.again)
                thread.start()
                thread.join(30)

        def again(self):
            env = tiny_env()
            try:
                agent.fit(env, callbacks=[collect()], **SHORT)
            except AgentStateError as error:
                errors.append(str(error))
            assert not env.actions

    history = agent.fit(factory, callbacks=[Again(), collect()], **SHORT).history
    assert errors == ["fit is already running on this agent; wait for it to end."]
    assert int(agent.optimizer.iterations) == 8
    assert history["env_steps"] == [float(agent.env_steps)]
    assert agent.run is None


def test_warnings_of_a_run_are_none(make_agent, factory):
    agent = make_agent("dqn")
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        agent.fit(factory, callbacks=[collect()], validation_data=factory, **SHORT)
