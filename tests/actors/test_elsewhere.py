"""An actor in another thread, and in another process, does what it does here."""

import ast
import contextlib
import multiprocessing
import queue
import threading
from pathlib import Path

import acting_process
import gymnasium as gym
import keras
import numpy as np
import pytest

import kerasrl
from kerasrl.envs import EnvSpec
from kerasrl.experience import Transitions
from kerasrl.replay import Uniform

TURNS = 3


@pytest.fixture(scope="module")
def weights():
    """Those of several versions, as a learner that goes on learning would hand them out."""
    keras.utils.set_random_seed(0)  # With others, no episode may end in time.
    agent = kerasrl.DQN(normalize_observations=True)
    policy = agent.make_policy("CartPole-v1", 2, np.random.default_rng(0))
    versions = []
    for version in range(TURNS):
        for variable in agent.q_network.trainable_variables:
            variable.assign_add(np.full(variable.shape, 0.01 * version, np.float32))
        agent.epsilon.assign(0.5 - 0.2 * version)
        policy.update()
        _, arrays = policy.weights()
        versions.append((version, [array.copy() for array in arrays]))
    return versions


@pytest.fixture(scope="module")
def expected(weights):
    """What an actor here makes of them."""
    items = []
    actor = acting_process.make_actor(items.append)
    told = [acting_process.turn(actor, items, each) for each in weights]
    assert len({packed for _, packed, *_ in told}) == TURNS
    assert sum(len(episodes) for _, _, episodes, *_ in told) > 0
    return told


def check(received, expected):
    for told, known in zip(received, expected, strict=True):
        version, packed, episodes, seen, steps = told
        assert (version, packed, episodes, steps) == (known[0], known[1], known[2], known[4])
        np.testing.assert_array_equal(seen, known[3])


def test_in_a_thread(weights, expected):
    newest, told, errors = queue.Queue(), queue.Queue(), []

    def act():
        try:
            items = []
            actor = acting_process.make_actor(items.append)
            while (received := newest.get(timeout=30)) is not None:
                told.put(acting_process.turn(actor, items, received))
        except Exception as error:
            errors.append(error)

    thread = threading.Thread(target=act)
    thread.start()
    for each in [*weights, None]:
        newest.put(each)
    thread.join(timeout=60)
    assert not thread.is_alive() and errors == []
    check([told.get_nowait() for _ in range(TURNS)], expected)


@pytest.mark.thorough
def test_in_a_process_that_is_sent_weights_and_sends_packed_items(weights, expected):
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=acting_process.act, args=(there,), daemon=True)
    process.start()
    received = []
    with contextlib.closing(here):
        for each in weights:
            here.send(each)
            assert here.poll(60), "the process has sent nothing within a minute"
            received.append(here.recv())
        here.send(None)
        process.join(timeout=30)
    assert process.exitcode == 0
    check(received, expected)
    # What came can be learned from.
    with Uniform(512) as replay:
        replay.open(Transitions().spec(EnvSpec(gym.make("CartPole-v1"))))
        for _, packed, *_ in received:
            rows = np.frombuffer(packed, np.uint8).reshape(-1, replay.packer.dtype.itemsize)
            replay.insert(replay.packer.from_bytes(rows))
        replay.flush()
        (batch,) = replay.dataset(16).take(1)
    assert np.isfinite(batch["next_observation"].numpy()).all()


def test_an_actor_knows_neither_keras_nor_tensorflow():
    for path in (Path(kerasrl.__file__).parent / "actors").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = [getattr(node, "module", "") or "", *(alias.name for alias in node.names)]
                assert not {name.split(".")[0] for name in names} & {"keras", "tensorflow"}
