"""Collecting in a thread while updates are made."""

import csv
import signal
import threading

import gymnasium as gym
import keras
import numpy as np
import pytest
import tensorflow as tf

import kerasrl
from kerasrl.callbacks import Checkpoint, Collect, EpisodeCSV
from kerasrl.errors import ReplayError
from kerasrl.replay import Uniform

WARMUP, STEPS = 32, 48
TURN = 8
KINDS = ("dqn", "sac", "ddpg", "td3", "d4pg")


def fitted(agent, env, background=True):
    """Weights and logs of a run with a seed, but for what depends on the time it takes."""
    with Uniform(256, store="local") as replay:
        history = agent.fit(
            env,
            epochs=2,
            steps_per_epoch=STEPS // 2,
            batch_size=8,
            seed=0,
            replay=replay,
            callbacks=[Collect(1, WARMUP, TURN, background=background)],
            verbose=0,
        ).history
    history.pop("env_steps_per_second")
    return agent.get_weights(), history


def same(weights, others):
    return all((one == other).all() for one, other in zip(weights, others, strict=True))


def no_threads(before):
    return set(threading.enumerate()) <= before


class ThreadedEnv(gym.Wrapper):
    """Notes which threads step it, and may wait or fail in a step."""

    def __init__(self, step=lambda count: None):
        super().__init__(gym.make("CartPole-v1"))
        self.count, self.threads, self.before = 0, [], step

    def step(self, action):
        self.count += 1
        self.threads.append(threading.current_thread())
        self.before(self.count)
        return self.env.step(action)


def cartpole(make_agent, env, callbacks=(), turn=TURN, **more):
    agent = make_agent("dqn", build=False)
    collect = Collect(1, WARMUP, turn, background=True)
    arguments = {"steps_per_epoch": STEPS, "batch_size": 8, "verbose": 0, **more}
    with Uniform(256, store="local") as replay:
        agent.fit(env, replay=replay, callbacks=[collect, *callbacks], **arguments)
    return agent


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.table
def test_a_run_with_a_seed_is_repeatable(make_agent, tiny_env, kind):
    box = gym.spaces.Box(-1, 1, (2,), np.float32)
    env = "CartPole-v1" if kind == "dqn" else lambda: tiny_env(action_space=box)
    (weights, history), (others, again) = (
        fitted(make_agent(kind, build=kind != "dqn"), env) for _ in range(2)
    )
    assert history == again
    assert same(weights, others)


def test_so_is_one_that_normalises_observations():
    agents = [kerasrl.DQN(normalize_observations=True) for _ in range(2)]
    for agent in agents:
        agent.compile()
    (weights, history), (others, again) = (fitted(agent, "CartPole-v1") for agent in agents)
    assert history == again
    assert same(weights, others)
    (layer,) = agents[0].observation_normalizers
    assert int(layer.count) >= WARMUP + STEPS - 2 * TURN


def test_it_learns_from_a_turn_earlier(make_agent):
    (weights, _), (others, _) = (
        fitted(make_agent("dqn", build=False), "CartPole-v1", background)
        for background in (False, True)
    )
    assert not same(weights, others)


@pytest.mark.parametrize("num_envs", [1, 3])
@pytest.mark.parametrize("per_execution", [1, 4, 16])
@pytest.mark.parametrize("per_update", [0.5, 1, 3])
@pytest.mark.table
def test_steps_and_updates_are_never_more_than_a_turn_apart(
    make_agent, per_update, per_execution, num_envs
):
    made, counts = [], []

    class Watch(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            taken = sum(env.count for env in made)
            counts.append((batch + 1, taken, int(self.model.env_steps.numpy())))

    def factory():
        made.append(ThreadedEnv())
        return made[-1]

    agent = make_agent("dqn", {"steps_per_execution": per_execution}, build=False)
    with Uniform(256, store="local") as replay:
        agent.fit(
            factory,
            steps_per_epoch=STEPS,
            batch_size=8,
            num_envs=num_envs,
            replay=replay,
            verbose=0,
            callbacks=[Watch(), Collect(per_update, WARMUP, TURN, background=True)],
        )
    warmup = -(-WARMUP // num_envs) * num_envs
    turn = per_update * max(TURN, per_execution)
    for updates, taken, counted in counts:
        due = warmup + updates * per_update
        assert counted <= taken <= due + num_envs  # It resets within a step.
        assert counted >= due - 2 * turn - num_envs
    at_end = warmup + STEPS * per_update
    assert abs(counts[-1][2] - at_end) < num_envs
    assert int(agent.env_steps) == counts[-1][2]


def test_the_environment_is_stepped_while_an_update_is_made(make_agent):
    """Each waits for the other, which no order in one thread could satisfy."""
    stepping, updated = threading.Event(), threading.Event()

    def wait(count):
        if count == WARMUP + 2 * TURN:
            stepping.set()
            assert updated.wait(60)

    class Update(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if not updated.is_set() and stepping.wait(0.05):
                updated.set()

    env = ThreadedEnv(wait)
    cartpole(make_agent, env, [Update()])
    assert updated.is_set()
    main = threading.main_thread()
    assert {thread is main for thread in env.threads[WARMUP : WARMUP + 2 * TURN]} == {False}
    assert {thread is main for thread in env.threads[:WARMUP]} == {True}


def test_what_an_environment_raises_ends_the_run(make_agent):
    def fail(count):
        if count == WARMUP + 5:
            raise ZeroDivisionError("a fault of mine")

    before = set(threading.enumerate())
    with pytest.raises(ZeroDivisionError, match="a fault of mine"):
        cartpole(make_agent, ThreadedEnv(fail))
    assert no_threads(before)


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_elsewhere_leaves_no_thread_behind(make_agent, error):
    class Fail(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch == TURN + 3:
                raise error("elsewhere")

    before = set(threading.enumerate())
    with pytest.raises(error, match="elsewhere"):
        cartpole(make_agent, ThreadedEnv(), [Fail()])
    assert no_threads(before)


def test_a_signal_waits_for_the_turn_and_nothing_is_lost(make_agent, tmp_path):
    taken = []

    class Interrupt(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            taken.append(batch + 1)
            if batch == TURN + 2:
                signal.raise_signal(signal.SIGINT)

    env, agent = ThreadedEnv(), make_agent("dqn", build=False)
    collect = Collect(1, WARMUP, TURN, background=True)
    kept = Checkpoint(tmp_path, every_epochs=None)
    with pytest.raises(KeyboardInterrupt), Uniform(256, store="local") as replay:
        agent.fit(
            env,
            steps_per_epoch=STEPS,
            batch_size=8,
            replay=replay,
            verbose=0,
            callbacks=[collect, Interrupt(), kept],
        )
    assert taken[-1] == 2 * TURN
    assert int(agent.env_steps) == env.count == WARMUP + TURN
    assert kept.latest is not None


def test_a_checkpoint_that_is_asked_for_waits_for_the_turn(make_agent, tmp_path):
    kept = Checkpoint(tmp_path, every_epochs=None)
    steps = []

    class Ask(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch == TURN + 2:
                kept.save()
            steps.append((batch + 1, kept.latest is not None))

    cartpole(make_agent, ThreadedEnv(), [Ask(), kept])
    saved = [step for step, is_kept in steps if is_kept]
    assert saved[0] == 2 * TURN + 1  # It is written when all others are through.


def test_callbacks_are_told_of_all_steps_in_the_main_thread(make_agent, tmp_path):
    told, actors = [], []

    class Listen(keras.callbacks.Callback):
        def on_env_step(self, observation, action, step):
            assert threading.current_thread() is threading.main_thread()
            told.append((observation[0].copy(), int(action[0]), float(step.reward[0])))

        def on_episode_end(self, episode, env_steps):
            actors.append((episode.length, env_steps))

    rows = tmp_path / "episodes.csv"
    cartpole(make_agent, ThreadedEnv(), [Listen(), EpisodeCSV(rows)], seed=0)
    assert len(told) == WARMUP + STEPS
    lengths = [length for length, _ in actors]
    assert [env_steps for _, env_steps in actors] == list(np.cumsum(lengths))
    with open(rows, newline="") as file:
        assert [int(row["episode_length"]) for row in csv.DictReader(file)] == lengths
    # Each observation is another one: nothing was told of twice, or changed since.
    assert len({observation.tobytes() for observation, _, _ in told}) == len(told)


def test_a_step_that_hangs_does_not_hold_up_the_end(make_agent, monkeypatch):
    monkeypatch.setattr("kerasrl.actors.background._PATIENCE", 0.1)
    hanging = threading.Event()

    def hang(count):
        if count == WARMUP + 4:
            hanging.wait(60)

    class Fail(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch == TURN + 6:
                raise ValueError("elsewhere")

    with pytest.raises(ValueError, match="elsewhere"), pytest.warns(UserWarning, match="0.1 s"):
        cartpole(make_agent, ThreadedEnv(hang), [Fail()])
    hanging.set()


def test_a_replay_that_is_closed_meanwhile_is_an_error(make_agent):
    agent, replay = make_agent("dqn", build=False), Uniform(256, store="local")

    class Close(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch == TURN + 2:
                replay.close()

    collect = Collect(1, WARMUP, TURN, background=True)
    with pytest.raises((ReplayError, tf.errors.OpError)):
        agent.fit(
            "CartPole-v1",
            steps_per_epoch=STEPS,
            batch_size=8,
            replay=replay,
            verbose=0,
            callbacks=[collect, Close()],
        )


def test_it_serves_a_budget_of_environment_steps(make_agent):
    agent = make_agent("dqn", build=False)
    history = agent.fit(
        "CartPole-v1",
        env_steps=300,
        batch_size=8,
        verbose=0,
        callbacks=[Collect(2, 100, background=True)],
    ).history
    assert history["env_steps"][-1] == 300
    assert int(agent.gradient_steps) == 100
