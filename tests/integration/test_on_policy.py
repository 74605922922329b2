"""Whole runs of on-policy agents: what they learn from, what is left of them, what is saved."""

import socket
import time

import keras
import numpy as np
import pytest
import tensorflow as tf
from leftovers import counts, is_listened_on, more_than, port_of

import kerasrl
from kerasrl.callbacks import CollectEpisodes, CollectRollouts
from kerasrl.errors import ReplayUnavailable
from kerasrl.replay import Queue
from kerasrl.testing import CountingEnv

# -- nothing is learned from but what the newest policy has just done ---------------------------


def stamped(agent_class):
    """A class of agents whose policy states how many gradient steps it has had.

    `learned` holds, for every gradient step in its order, how many had been done before it, the
    stamps of the examples, and the stamps of the policy's outputs for what followed them.
    """

    class Stamped(agent_class):
        def policy(self, observation):
            output = super().policy(observation)
            stamp = tf.cast(self.optimizer.iterations, tf.float32)
            return tf.concat([output, tf.fill((output.shape[0], 1), stamp)], axis=-1)

        def explore(self, output, rng):
            return super().explore(output[:, :-1], rng)

        def examples(self, rollout):
            policies = {key: rollout[key][..., :-1] for key in ("policy", "next_policy")}
            stamps = {f"{key} stamp": rollout[key][..., -1] for key in policies}
            return super().examples(rollout | policies) | stamps | {"valid": rollout["valid"]}

        def train_step(self, batch):
            valid = batch.pop("valid")
            stamps = [batch.pop(f"{key} stamp").numpy() for key in ("policy", "next_policy")]
            stamps = [sorted(set(map(int, stamp[valid]))) for stamp in stamps]
            self.learned.append((int(self.optimizer.iterations), *stamps))
            return super().train_step(batch)

    return Stamped


class Interrupt(keras.callbacks.Callback):
    """Interrupts the run just after a rollout was collected, before any of it is learned from."""

    def __init__(self, at):
        super().__init__()
        self.at = at

    def on_train_batch_begin(self, batch, logs=None):
        if batch == self.at:
            raise KeyboardInterrupt


def networks():
    actor = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)])
    return actor, keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])


ROLLOUTS = {"collector": lambda: CollectRollouts(8), "fit": {"batch_size": 4}, "turn": 4}
EPISODES = {"collector": lambda: CollectEpisodes(2, 4), "fit": {}, "turn": 1}
CASES = {
    "PPO": (kerasrl.PPO, 1, ROLLOUTS),
    "PPO, 2 steps per execution": (kerasrl.PPO, 2, ROLLOUTS),
    "PPO, 4 steps per execution": (kerasrl.PPO, 4, ROLLOUTS),
    "A2C": (kerasrl.A2C, 1, {**ROLLOUTS, "fit": {}, "turn": 1}),
    "REINFORCE": (kerasrl.REINFORCE, 1, EPISODES),
}


@pytest.mark.parametrize("ending", ["within a rollout", "before a rollout is learned from"])
@pytest.mark.parametrize("name", CASES)
@pytest.mark.table
def test_every_batch_was_collected_with_the_weights_of_its_turn(name, ending):
    agent_class, per_execution, case = CASES[name]
    turn = case["turn"]
    options = {"update_epochs": 2} if agent_class is kerasrl.PPO else {}
    agent = stamped(agent_class)(*networks(), **options)
    agent.compile(run_eagerly=True, steps_per_execution=per_execution)
    agent.learned = []
    with Queue() as queue:

        def fit(steps, callbacks=(), epochs=1):
            agent.fit(
                CountingEnv((3, 1)),
                steps_per_epoch=steps,
                epochs=epochs,
                replay=queue,
                callbacks=[case["collector"](), *callbacks],
                verbose=0,
                **case["fit"],
            )

        if ending == "within a rollout":
            half = turn // 2 if turn > per_execution else turn
            first, second = turn + half, 2 * turn
            fit(first)
            fit(half, epochs=second // half)  # A rollout goes on from one epoch to the next.
        else:
            first, second = 2 * turn, 2 * turn
            with pytest.raises(KeyboardInterrupt) as raised:  # What is raised holds all its frames.
                fit(3 * turn, [Interrupt(2 * turn)])
            assert queue.info().rate_limiter_info.insert_stats.completed == 3
            fit(2 * turn)
            assert raised.traceback
    begins = [
        first * fit + i // turn * turn for fit, n in ((0, first), (1, second)) for i in range(n)
    ]
    assert [step for step, *_ in agent.learned] == list(range(first + second))
    assert [stamps for _, stamps, _ in agent.learned] == [[begin] for begin in begins]
    if agent_class is not kerasrl.REINFORCE:  # It does not ask what followed.
        assert [stamps for *_, stamps in agent.learned] == [[begin] for begin in begins]


def test_an_evaluation_in_the_same_environment_comes_between_rollouts(make_agent, recorded_queue):
    env, queue = CountingEnv((7,)), recorded_queue()
    agent = kerasrl.A2C(*networks())
    agent.compile(run_eagerly=True)
    with pytest.warns(UserWarning, match="the environment that is trained on"):
        agent.fit(env, steps_per_epoch=1, epochs=3, validation_data=env, replay=queue, verbose=0)
    steps = [rollout["observation"][:, 0] for rollout in queue.rollouts]
    for episode, rollout in zip((0, 12, 24), steps, strict=True):  # Evaluating takes eleven resets.
        np.testing.assert_array_equal(rollout, [[episode, time] for time in range(5)])


# -- what is left of a run ---------------------------------------------------------------------


class Spy(keras.callbacks.Callback):
    """Notes the port of the queue's server, and may raise at some point of the run."""

    def __init__(self, at="", raises=None):
        super().__init__()
        self.at, self.raises = at, raises

    def _point(self, name):
        self.port = port_of(self.model.run.replay)
        assert self.port is None or is_listened_on(self.port)
        if name == self.at:
            raise self.raises("boom")  # A new one: it holds the frames of the run.

    def on_train_begin(self, logs=None):
        self._point("on_train_begin")

    def on_train_batch_begin(self, batch, logs=None):
        self._point("on_train_batch_begin")

    def on_train_batch_end(self, batch, logs=None):
        self._point("on_train_batch_end")

    def on_epoch_end(self, epoch, logs=None):
        self._point("on_epoch_end")


FAILURES = {
    "none": {},
    "before anything": {"at": "on_train_begin", "raises": RuntimeError},
    "before learning": {"at": "on_train_batch_begin", "raises": KeyboardInterrupt},
    "while learning": {"at": "on_train_batch_end", "raises": KeyboardInterrupt},
    "at the end": {"at": "on_epoch_end", "raises": RuntimeError},
    "in the environment": {},
}


@pytest.mark.parametrize(
    ("kind", "failure"),
    [*(("ppo", failure) for failure in FAILURES), ("reinforce", "in the environment")],
)
@pytest.mark.thorough
def test_nothing_is_left_of_a_run(make_agent, tiny_env, kind, failure):
    agent, made, spy = make_agent(kind, {"run_eagerly": True}), [], Spy(**FAILURES[failure])
    fail_at = 6 if failure == "in the environment" else None

    def factory():
        made.append(tiny_env(length=4, fail_at=fail_at))
        return made[-1]

    def run():
        arguments = {"batch_size": 4} if kind == "ppo" else {}
        collector = CollectRollouts(8) if kind == "ppo" else CollectEpisodes(2, 4)
        agent.fit(factory, steps_per_epoch=3, callbacks=[collector, spy], verbose=0, **arguments)

    errors = {"none": ()}.get(failure, (RuntimeError, KeyboardInterrupt, OSError))
    for attempt in range(3):
        if errors:
            with pytest.raises(errors, match="boom|crashed"):
                run()
        else:
            run()
        assert agent.run is None
        assert all(env.closed for env in made)
        assert not is_listened_on(spy.port)
        if attempt == 0:
            before = counts()
    assert more_than(before, allowed=2).max() <= 2


@pytest.mark.parametrize("port", [None, pytest.param("fixed", marks=pytest.mark.reverb)])
@pytest.mark.table
def test_a_queue_of_the_user_serves_one_run_after_another(make_agent, tiny_env, port):
    if port:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::", 0))
            port = probe.getsockname()[1]
    agent = make_agent("a2c", {"run_eagerly": True})
    with Queue(port) as queue:
        for _ in range(3):
            agent.fit(tiny_env(), steps_per_epoch=2, replay=queue, verbose=0)
            assert queue.info().rate_limiter_info.sample_stats.completed == 2  # It stays open.
    assert int(agent.optimizer.iterations) == 6
    assert int(agent.env_steps) == 30


def test_the_end_of_a_run_does_not_wait_for_another_rollout(make_agent, tiny_env):
    """Reverb's own reader of an empty queue goes on waiting for three seconds."""
    agent, begin = make_agent("a2c", {"run_eagerly": True}), []
    note = keras.callbacks.LambdaCallback(on_epoch_end=lambda *_: begin.append(time.monotonic()))
    agent.fit(tiny_env(), steps_per_epoch=2, callbacks=[note], verbose=0)
    assert time.monotonic() - begin[0] < 1.5


# -- saving ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["ppo", "a2c", "reinforce"])
@pytest.mark.table
def test_an_agent_comes_back_whole(make_agent, tiny_env, tmp_path, kind):
    options = {"ppo": {"target_kl": 1e-9, "update_epochs": 2}, "reinforce": {"baseline": True}}
    agent = make_agent(kind, {"optimizer": keras.optimizers.Adam(0.1)}, **options.get(kind, {}))
    env = tiny_env(length=8)
    batch_size = 4 if kind == "ppo" else None
    collector = CollectEpisodes(2, 8) if kind == "reinforce" else CollectRollouts(8)
    arguments = {"batch_size": batch_size, "callbacks": [collector], "verbose": 0}
    agent.fit(env, steps_per_epoch=3, **arguments)
    agent.save(tmp_path / "agent.keras")
    loaded = kerasrl.load(tmp_path / "agent.keras")
    assert type(loaded) is type(agent)
    assert loaded.get_compile_config() == agent.get_compile_config()
    for key, value in agent.get_config().items():
        assert isinstance(value, dict) or loaded.get_config()[key] == value
    assert len(loaded.weights) == len(agent.weights)
    for one, other in zip(loaded.get_weights(), agent.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    for one, other in zip(loaded.optimizer.variables, agent.optimizer.variables, strict=True):
        np.testing.assert_array_equal(one, other)
    x = np.random.default_rng(0).normal(size=(16, 4)).astype(np.float32)
    np.testing.assert_array_equal(loaded.predict(x, verbose=0), agent.predict(x, verbose=0))
    np.testing.assert_array_equal(loaded.policy(x), agent.policy(x))
    done = int(loaded.optimizer.iterations), int(loaded.env_steps)
    loaded.fit(env, steps_per_epoch=1, **arguments)
    more = 16 if kind == "reinforce" else 8
    assert (int(loaded.optimizer.iterations), int(loaded.env_steps)) == (
        done[0] + 1,
        done[1] + more,
    )


@pytest.mark.parametrize("steps", [0, 2])
@pytest.mark.table
def test_an_error_that_keras_takes_for_the_end_of_the_data(steps):
    """As may come out of a pipeline for several replicas."""

    class Ends(Queue):
        def dataset(self, *args, **kwargs):
            return super().dataset(*args, **kwargs).take(steps)

        def failure(self):
            return ReplayUnavailable("the server is gone")

    agent = kerasrl.A2C()
    agent.compile()
    with pytest.raises(ReplayUnavailable, match="the server is gone"):
        agent.fit("CartPole-v1", epochs=2, steps_per_epoch=4, replay=Ends(), verbose=0)
