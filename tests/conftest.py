import contextlib
import gc
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import gymnasium as gym
import keras
import numpy as np
import pytest
import tensorflow as tf

import kerasrl
from kerasrl import run as runs
from kerasrl._stack import reverb_is_there
from kerasrl.compatibility import KERAS_3

ROOT = str(Path(__file__).parent.parent)
sys.path.insert(0, str(Path(__file__).parent))

import leftovers  # noqa: E402

# What the imports have made need not be looked through again; a sixth of the time went there.
gc.freeze()
gc.set_threshold(10_000)

_MODES = {
    "eager": lambda function: function,
    "graph": tf.function,
    "xla": tf.function(jit_compile=True),
}


@pytest.hookimpl(tryfirst=True)  # Before tests are chosen by their marks.
def pytest_collection_modifyitems(items):
    """Of a test marked as a table, leaves one case to be run without `-m thorough`."""
    begun = set()
    for item in items:
        test = item.nodeid.partition("[")[0]
        if item.get_closest_marker("table") and test in begun:
            item.add_marker(pytest.mark.thorough)
        begun.add(test)


def pytest_runtest_setup(item):
    """Skips what is of the other stack."""
    if item.get_closest_marker("reverb") and not reverb_is_there():
        pytest.skip("there is no Reverb on this stack")
    if item.get_closest_marker("keras_2") and KERAS_3:
        pytest.skip("this is Keras 3")
    if item.get_closest_marker("keras_3") and not KERAS_3:
        pytest.skip("this is Keras 2")


@pytest.fixture(autouse=True, scope="session")
def temporary_files(tmp_path_factory):
    """A place of their own for temporary files, to see which are left."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(tmp_path_factory.mktemp("temporary")))
        patch.setattr(tempfile, "tempdir", None)
        yield


@pytest.fixture(autouse=True)
def nothing_left(request):
    """Shows, for each test of a fault, that nothing is left behind."""
    if request.node.get_closest_marker("fault") is None:
        yield
        return
    before = leftovers.handles()
    yield
    assert leftovers.left_since(before) == []


@pytest.fixture(params=_MODES)
def mode(request):
    """Wraps a callable so that it runs eagerly, in a graph, or compiled by XLA."""
    return _MODES[request.param]


class TinyEnv(gym.Env):
    """Samples of any observation space, a reward of 1 a step, episodes of a fixed length.

    It refuses actions that are not of its space, and raises at step `fail_at` of its life.
    """

    def __init__(
        self,
        observation_space=None,
        action_space=None,
        length=5,
        fail_at=None,
        truncates=False,
    ):
        self.observation_space = observation_space or gym.spaces.Box(-1, 1, (4,), np.float32)
        self.action_space = action_space or gym.spaces.Discrete(2)
        self.length = length
        self.fail_at = fail_at
        self.truncates = truncates
        self.actions = []
        self.seeds = []
        self.closed = False

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.seeds.append(seed)
        if seed is not None:
            self.observation_space.seed(seed)
        self.time = 0
        return self.observation_space.sample(), {}

    def step(self, action):
        assert self.action_space.contains(action), f"{action!r} is not in {self.action_space}"
        self.actions.append(np.array(action))
        if len(self.actions) == self.fail_at:
            raise OSError("the simulator crashed")
        self.time += 1
        ended = self.time == self.length
        terminated, truncated = ended and not self.truncates, ended and self.truncates
        return self.observation_space.sample(), 1.0, terminated, truncated, {}

    def close(self):
        self.closed = True


@pytest.fixture
def tiny_env():
    """The class of `TinyEnv`, to make environments of any spaces with."""
    return TinyEnv


@pytest.fixture
def short_pendulum(monkeypatch):
    """Gives Pendulum-v1 episodes of 20 steps rather than of 200."""
    monkeypatch.setattr(gym.spec("Pendulum-v1"), "max_episode_steps", 20)


@pytest.fixture
def batches():
    """Makes a `tf.data.Dataset` of random batches for two spaces, the same for the same seed."""

    def leaf(space, count, rng):
        if isinstance(space, gym.spaces.Dict):
            return {key: leaf(child, count, rng) for key, child in space.items()}
        if isinstance(space, gym.spaces.Tuple):
            return tuple(leaf(child, count, rng) for child in space)
        if isinstance(space, gym.spaces.Discrete):
            return rng.integers(space.start, space.start + space.n, count)
        low = np.where(np.isfinite(space.low), space.low, -1)
        high = np.where(np.isfinite(space.high), space.high, 1)
        return rng.uniform(low, high, (count, *space.shape)).astype(space.dtype)

    def make(agent, count=1, batch_size=8, seed=0):
        rng = np.random.default_rng(seed)
        rows = count * batch_size
        transitions = {
            "observation": leaf(agent.observation_space, rows, rng),
            "action": leaf(agent.action_space, rows, rng),
            "reward": rng.normal(size=rows).astype(np.float32),
            "discount": rng.choice(np.float32([0, 0.81, 1]), rows),
            "next_observation": leaf(agent.observation_space, rows, rng),
        }
        dataset = tf.data.Dataset.from_tensor_slices(transitions)
        return dataset.batch(batch_size, drop_remainder=True)

    return make


@pytest.fixture
def make_agent(tiny_env):
    """Makes a built and compiled agent with networks of 8 units, the same for the same seed."""

    def network(inputs, outputs):
        return keras.Sequential(
            [keras.Input((inputs,)), keras.layers.Dense(8, "tanh"), keras.layers.Dense(outputs)]
        )

    def critic(size, outputs=1):
        observation, action = keras.Input((4,)), keras.Input((size,))
        hidden = keras.layers.Concatenate()([observation, action])
        hidden = keras.layers.Dense(8, "tanh")(hidden)
        return keras.Model([observation, action], keras.layers.Dense(outputs)(hidden))

    def make(kind, compiled=None, build=True, **arguments):
        keras.utils.set_random_seed(0)
        if kind not in ("sac", "ddpg", "td3", "d4pg"):
            env = tiny_env()
            networks = [network(4, 2)] + [network(4, 1)] * (kind in ("ppo", "a2c"))
            agent_class = getattr(kerasrl, kind.upper())
            plain = {"double": False, "n_step": 1} if kind == "dqn" else {}
            agent = agent_class(*networks, **(plain | arguments))
            optimizers = {"optimizer": keras.optimizers.SGD(0.1)}
        else:
            env = tiny_env(action_space=gym.spaces.Box(-1, 1, (2,), np.float32))
            actor = network(4, 4 if kind == "sac" else 2)
            values = critic(2, arguments.get("num_atoms", 51) if kind == "d4pg" else 1)
            agent = getattr(kerasrl, kind.upper())(actor, values, **arguments)
            names = ("actor_optimizer", "critic_optimizer", "temperature_optimizer")
            names = names if kind == "sac" else names[:2]
            optimizers = {name: keras.optimizers.SGD(0.1) for name in names}
        agent.reseed(0)
        if build:
            agent.build(env)
        agent.compile(**(optimizers | (compiled or {})))
        return agent

    return make


@pytest.fixture
def examples():
    """Makes a dict of random examples such as PPO, A2C and REINFORCE learn from, 8 of them."""

    def make(agent, count=8, seed=0, **columns):
        rng = np.random.default_rng(seed)
        agent.action_space.seed(seed)
        weight = rng.choice(np.float32([0, 1, 1, 1]), count)
        behaviour = rng.normal(-0.7, 0.3, count)
        made = {
            "observation": rng.normal(size=(count, 4)).astype(np.float32),
            "action": np.stack([agent.action_space.sample() for _ in range(count)]),
            "log_prob": behaviour.astype(np.float32),
            "value": rng.normal(size=count).astype(np.float32),
            "advantage": rng.normal(size=count).astype(np.float32),
            "return": rng.normal(size=count).astype(np.float32),
            "weight": weight / weight.mean(),
            "env_steps": np.zeros(count, np.int64),
            "explained_variance": np.full(count, 0.5, np.float32),
        }
        return made | columns

    return make


@pytest.fixture
def small_replay():
    """Makes replays that can be sampled after exactly 32 transitions, and closes them."""
    with contextlib.ExitStack() as replays:
        yield lambda: replays.enter_context(kerasrl.replay.Uniform(capacity=32))


class RecordedQueue(kerasrl.replay.Queue):
    """Keeps every rollout as a dict of `[T, N, ...]` arrays, lists of them where there are leaves.

    It holds the rollouts back from the server if `serve` is False, for tests of who collects them.
    """

    def __init__(self, port=None, serve=True):
        super().__init__(port)
        self.rollouts = []
        self.serve = serve

    def insert(self, rollout):
        columns = {
            key: [rollout[field][0].copy() for field in fields]
            for key, fields in self.packer.fields.items()
        }
        self.rollouts.append({k: v[0] if len(v) == 1 else v for k, v in columns.items()})
        if self.serve:
            super().insert(rollout)


@pytest.fixture
def recorded_queue():
    """Makes queues that keep what is inserted in `rollouts`, and closes them."""
    with contextlib.ExitStack() as queues:
        yield lambda **arguments: queues.enter_context(RecordedQueue(**arguments))


class KnownAgent(kerasrl.Agent):
    """An agent for `CountingEnv`: its value is 100 times the episode plus the step, and two zeros.

    Its action is `actions` of the value. It learns nothing, in two epochs.
    """

    update_epochs = 2
    actions = staticmethod(lambda value: value.astype(int) % 2)

    def build_networks(self):
        pass

    def policy(self, observation):
        value = 100 * observation[:, :1] + observation[:, 1:]
        return tf.concat([tf.zeros_like(observation), value], axis=-1)

    def explore(self, output, rng):
        return self.actions(output[:, -1])


@pytest.fixture
def collected(recorded_queue):
    """Has a collector collect `turns` times for a `KnownAgent`, which does not learn in between.

    Returns the agent, the rollouts, and the last logs.
    """

    def run(collector, env, turns, num_envs=1, actions=None, faults=None, **arguments):
        agent = KnownAgent(**arguments)
        agent.actions = actions or agent.actions
        agent.compile()
        queue = recorded_queue(serve=False)
        with contextlib.closing(kerasrl.envs.make(env, num_envs, faults)) as environments:
            agent.build(environments.spec)
            agent.run = runs.Run(environments, queue, callbacks=[collector])
            collector.prepare(agent)
            queue.open(collector.experience_spec())
            collector.set_params({"steps": None})
            collector.on_train_begin()
            logs = {}
            for batch in range(turns * getattr(collector, "updates_per_turn", 1)):
                collector.on_train_batch_begin(batch)
                collector.on_train_batch_end(batch, logs)
        return agent, queue.rollouts, logs

    return run


@pytest.fixture
def run_python():
    """Runs a script in a process of its own, with kerasrl in its path, and returns what it says."""

    def run(*scripts, timeout=110):
        processes = [start(script) for script in scripts]
        try:
            outputs = [process.communicate(timeout=timeout)[0] for process in processes]
        finally:
            for process in processes:
                process.kill()
                process.wait()
        for process, output in zip(processes, outputs, strict=True):
            assert process.returncode == 0, output[-3000:]
        return outputs[0] if len(outputs) == 1 else outputs

    def start(script):
        path = os.pathsep.join([ROOT, *filter(None, [os.environ.get("PYTHONPATH")])])
        return subprocess.Popen(
            [sys.executable, "-c", script],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            env={**os.environ, "PYTHONPATH": path, "TF_CPP_MIN_LOG_LEVEL": "2"},
        )

    run.start = start
    return run
