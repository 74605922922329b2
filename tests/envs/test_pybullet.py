import contextlib
import functools
import gc
import importlib.util
import json
import re
import sys
import threading
import warnings
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import kerasrl  # noqa: F401  It registers the environments.
from kerasrl.envs.suites import old_gym
from kerasrl.envs.suites import pybullet as ours
from kerasrl.errors import ArgumentError, EnvError, StackError

bullet = pytest.importorskip("pybullet", reason='PyBullet missing: pip install "kerasrl[pybullet]"')

MINITAUR = "kerasrl/MinitaurBullet-v0"
CHEETAH = "kerasrl/HalfCheetahBullet-v0"
KUKA = "kerasrl/KukaBullet-v0"
IDS = sorted(env_id for env_id in gym.registry if re.match("kerasrl/.*(Bullet|Kuka)", env_id))

# Their protobuf files need protobuf 3, and DeepMimic states no space for its observations.
LEFT_OUT = {
    "HumanoidDeepMimicBackflipBulletEnv-v1",
    "HumanoidDeepMimicWalkBulletEnv-v1",
    "MinitaurExtendedEnv-v0",
    "MinitaurReactiveEnv-v0",
    "MinitaurBallGymEnv-v0",
    "MinitaurTrottingEnv-v0",
    "MinitaurStandGymEnv-v0",
    "MinitaurAlternatingLegsEnv-v0",
    "MinitaurFourLegStandEnv-v0",
}

# Runs environments as PyBullet has them, behind as much of gym as they import.
ORIGINAL = """
import importlib, importlib.util, json, random, sys, types
import gymnasium, numpy as np

gym, seeding = types.ModuleType("gym"), types.ModuleType("gym.utils.seeding")
gym.Env, gym.spaces, gym.__version__ = object, gymnasium.spaces, "0.21.0"
gym.utils = types.SimpleNamespace(seeding=seeding)
seeding.np_random = lambda seed=None: (np.random.mtrand._rand, seed)
sys.modules |= {"gym": gym, "gym.spaces": gym.spaces, "gym.utils": gym.utils}
sys.modules["gym.utils.seeding"] = seeding
if importlib.util.find_spec("pkg_resources") is None:  # Of setuptools, of which it has little use.
    sys.modules["pkg_resources"] = types.SimpleNamespace(parse_version=str)
root = importlib.util.find_spec("pybullet_envs").submodule_search_locations[0]
for name, path in {"pybullet_envs": root, "pybullet_envs.bullet": root + "/bullet"}.items():
    sys.modules[name] = types.ModuleType(name)
    sys.modules[name].__path__ = [path]


def walk(module, name, seed, actions):
    env_class = getattr(importlib.import_module("pybullet_envs." + module), name)
    state = np.random.SeedSequence(seed).generate_state(4)
    np.random.seed(state)
    random.seed(state.tobytes())
    env = env_class()
    found = [*env.reset()]
    for action in np.float32(actions):
        observation, reward, *_ = env.step(action)
        found += [*observation, reward]
    return np.array(found).tolist()
"""


@pytest.fixture
def make():
    """Makes environments, and closes them."""
    envs = []

    def make(env_id, **kwargs):
        envs.append(gym.make(env_id, **kwargs))
        return envs[-1]

    yield make
    for env in envs:
        env.close()


def actions(env, steps=20):
    rng = np.random.default_rng(0)
    if isinstance(env.action_space, gym.spaces.Discrete):
        return list(rng.integers(env.action_space.n, size=steps))
    low, high = env.action_space.low, env.action_space.high
    return list(rng.uniform(low, high, (steps, *low.shape)).astype(np.float32))


def walk(env, seed=None, steps=20):
    """Yields the observations and rewards after actions that are the same every time."""
    observation, _ = env.reset(seed=seed)
    yield np.ravel(observation).astype(np.float64)
    for action in actions(env, steps):
        observation, reward, terminated, truncated, _ = env.step(action)
        yield np.append(observation, reward)
        if terminated or truncated:
            yield np.ravel(env.reset()[0]).astype(np.float64)


def trajectory(*args, **kwargs):
    return np.concatenate(list(walk(*args, **kwargs)))


def test_all_that_pybullet_registers_is_registered_or_left_out():
    path = importlib.util.find_spec("pybullet_envs").submodule_search_locations[0]
    code = re.sub("(?m)^#.*", "", Path(path, "__init__.py").read_text())
    found = re.findall(r"id='(.+?)',\s+entry_point='.+:(.+)',\s+max_episode_steps=(\d+)", code)
    assert len(found) == 31
    expected = {
        "kerasrl/" + re.sub("Env(?=-v)", "", name): (entry_point, int(max_episode_steps))
        for name, entry_point, max_episode_steps in found
        if name not in LEFT_OUT
    }
    assert {
        env_id: (
            ours._TASKS[env_id.removeprefix("kerasrl/")].entry_point.partition(":")[2],
            gym.spec(env_id).max_episode_steps,
        )
        for env_id in IDS
    } == expected


def test_to_register_again_changes_nothing(monkeypatch):
    other = gym.envs.registration.EnvSpec(MINITAUR, entry_point="other:Env")
    monkeypatch.setitem(gym.registry, MINITAUR, other)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ours.register()
    assert gym.registry[MINITAUR] is other


@pytest.mark.thorough
def test_nothing_is_imported_printed_or_left_behind(run_python):
    said = run_python(
        "import random, sys\n"
        "import gymnasium, kerasrl, numpy as np\n"
        "assert 'pybullet' not in sys.modules\n"
        "random.seed(0), np.random.seed(0)\n"
        "path, state = list(sys.path), (random.getstate(), np.random.get_state()[1].tolist())\n"
        "print('here', flush=True)\n"
        f"for env_id in ({MINITAUR!r}, {CHEETAH!r}, {KUKA!r}):\n"
        "    env = gymnasium.make(env_id)\n"
        "    env.reset(seed=0)\n"
        "    env.step(env.action_space.sample())\n"
        "    env.close()\n"
        "print('there', flush=True)\n"
        "assert sys.path == path\n"
        "assert (random.getstate(), np.random.get_state()[1].tolist()) == state\n"
        "roots = {name.partition('.')[0] for name in sys.modules}\n"
        "assert 'pybullet' in roots\n"
        "wrong = {'gym', 'pybullet_envs', 'pybullet_utils', 'robot_locomotors', 'minitaur'}\n"
        "assert not roots & wrong, roots & wrong\n"
    )
    assert said.partition("here\n")[2] == "there\n"


def test_an_old_gym_that_is_installed_is_left_alone(monkeypatch, make):
    installed = object()
    monkeypatch.setitem(sys.modules, "gym", installed)
    make(CHEETAH).reset()
    assert sys.modules["gym"] is installed


def test_they_are_the_tasks_that_pybullet_has(run_python, make):
    originals = {
        KUKA: ("bullet.kukaGymEnv", "KukaGymEnv"),  # It knows the first client only.
        MINITAUR: ("bullet.minitaur_gym_env", "MinitaurBulletEnv"),
        CHEETAH: ("gym_locomotion_envs", "HalfCheetahBulletEnv"),
    }
    envs = {env_id: make(env_id) for env_id in originals}
    arguments = [
        (*original, 7, np.array(actions(envs[env_id])).tolist())
        for env_id, original in originals.items()
    ]
    calls = "\n".join(f"print(json.dumps(walk(*{each!r})))" for each in arguments)
    found = [line for line in run_python(ORIGINAL + calls).splitlines() if line.startswith("[")]
    for env, numbers in zip(envs.values(), found, strict=True):
        # Observations are rounded to float32, rewards are not.
        np.testing.assert_allclose(trajectory(env, seed=7), json.loads(numbers), rtol=1e-7)


def test_minitaur_is_the_tutorials(make):
    env = make(MINITAUR)
    assert env.observation_space == gym.spaces.Box(-np.inf, np.inf, (28,), np.float32)
    assert env.action_space == gym.spaces.Box(-1, 1, (8,), np.float32)
    assert gym.spec(MINITAUR).max_episode_steps == 1000
    observation, _ = env.reset(seed=0)
    assert env.observation_space.contains(observation)
    observation, reward, terminated, truncated, info = env.step(env.action_space.sample())
    assert env.observation_space.contains(observation)
    assert type(reward) is float
    assert (terminated, truncated, info) == (False, False, {})


def test_gymnasium_finds_no_fault(make):
    env = make(MINITAUR, render_mode="rgb_array").unwrapped
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # PyBullet's bounds do not hold, so the observations have none, and it warns of that.
        warnings.filterwarnings("ignore", message=".*infinity. This is probably too")
        check_env(env)


def test_bounds_that_minitaur_passes_are_not_stated(make):
    env = make(MINITAUR)
    env.reset(seed=0)
    rng = np.random.default_rng(0)
    furthest = 0.0
    for _ in range(10):
        action = rng.choice([-1, 1], 8).astype(np.float32)
        for _ in range(5):
            observation = env.step(action)[0]
            assert env.observation_space.contains(observation)
            furthest = max(furthest, np.abs(observation[:8]).max())
    assert furthest > np.pi + 0.01  # PyBullet's own bound of a motor's angle.


@pytest.mark.parametrize("env_id", [MINITAUR, CHEETAH, KUKA, "kerasrl/RacecarBullet-v0"])
@pytest.mark.table
def test_a_seed_decides_everything(make, env_id):
    steps = 2 if "Racecar" in env_id else 20
    one, other = make(env_id), make(env_id)
    first = trajectory(one, seed=3, steps=steps)
    np.testing.assert_array_equal(trajectory(other, seed=3, steps=steps), first)
    # The second episode is another one, the same for both.
    second = trajectory(one, steps=steps)
    assert not np.array_equal(second, first)
    np.testing.assert_array_equal(trajectory(other, steps=steps), second)
    np.testing.assert_array_equal(trajectory(one, seed=3, steps=steps), first)
    assert not np.array_equal(trajectory(one, seed=4, steps=steps), first)


def test_a_seed_decides_the_noise_of_observations(make):
    one, other = (make(MINITAUR, observation_noise_stdev=0.1) for _ in range(2))
    first = trajectory(one, seed=3, steps=3)
    np.testing.assert_array_equal(trajectory(other, seed=3, steps=3), first)
    assert not np.allclose(trajectory(make(MINITAUR), seed=3, steps=3), first, atol=0.01)


def test_without_a_seed_every_environment_is_another(make):
    assert not np.array_equal(trajectory(make(CHEETAH)), trajectory(make(CHEETAH)))


@pytest.mark.parametrize("env_id", [MINITAUR, CHEETAH, KUKA])
@pytest.mark.table
def test_copies_do_not_disturb_each_other(make, env_id):
    alone = [trajectory(make(env_id), seed=seed) for seed in (0, 1)]
    together = zip(*(walk(make(env_id), seed=seed) for seed in (0, 1)), strict=True)
    for expected, found in zip(alone, zip(*together, strict=True), strict=True):
        np.testing.assert_array_equal(np.concatenate(found), expected)


def test_threads_do_not_disturb_each_other(make):
    found = {}

    def run(seed):
        with contextlib.closing(gym.make(CHEETAH)) as env:
            found[seed] = trajectory(env, seed=seed)

    in_threads(run, 4)
    for seed in range(4):
        np.testing.assert_array_equal(found[seed], trajectory(make(CHEETAH), seed=seed))


def test_modules_loaded_by_many_threads_leave_the_path_as_it_was():
    def run(_):
        for _ in range(5):
            old_gym.OldModules().load("pybullet_envs.bullet.minitaur_gym_env:MinitaurBulletEnv")

    path, interval = list(sys.path), sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        in_threads(run, 8)
    finally:
        sys.setswitchinterval(interval)
        left, sys.path[:] = list(sys.path), path
    assert left == path


def in_threads(run, count):
    threads = [threading.Thread(target=run, args=(i,)) for i in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)


def test_the_time_limit_truncates(make):
    env = make("kerasrl/InvertedPendulumSwingupBullet-v0")
    env.reset(seed=0)
    ends = [env.step(np.zeros(1, np.float32))[2:4] for _ in range(1000)]
    assert ends == [(False, False)] * 999 + [(False, True)]


def test_the_end_of_the_task_terminates(make):
    env = make(MINITAUR, distance_limit=0.0)
    env.reset(seed=0)
    assert env.step(np.zeros(8, np.float32))[2:4] == (True, False)
    env = make(KUKA)
    env.reset(seed=0)
    env.unwrapped._env.terminated = True  # As it is once the hand is at the tray.
    assert env.step(np.zeros(3, np.float32))[2:4] == (True, False)


@pytest.mark.parametrize(
    ("env_id", "kwargs"),
    [
        (KUKA, {"maxSteps": 0}),
        ("kerasrl/RacecarBullet-v0", {"actionRepeat": 1001}),
        ("kerasrl/KukaDiverseObjectGrasping-v0", {"maxSteps": 1, "numObjects": 1}),
    ],
)
@pytest.mark.table
def test_a_step_limit_of_the_class_truncates(make, env_id, kwargs):
    env = make(env_id, **kwargs)
    env.reset(seed=0)
    assert env.step(np.zeros(env.action_space.shape, np.float32))[2:4] == (False, True)


def test_an_array_is_a_discrete_action(make):
    env = make("kerasrl/KukaDiverseObjectGrasping-v0", isDiscrete=True, maxSteps=1, numObjects=1)
    assert env.action_space == gym.spaces.Discrete(7)
    observation, _ = env.reset(seed=0)
    assert env.observation_space == gym.spaces.Box(0, 255, (48, 48, 3), np.uint8)
    assert env.observation_space.contains(observation)
    env.step(np.int64(1))


@pytest.mark.parametrize(("env_id", "fps"), [(MINITAUR, 100), (CHEETAH, 61)])
def test_a_frame_shows_the_robot(make, env_id, fps):
    env = make(env_id, render_mode="rgb_array")
    assert env.metadata["render_fps"] == fps  # It acts every 0.01 s, or every 0.0165 s.
    env.reset(seed=0)
    frame = env.render()
    assert (frame.shape, frame.dtype) == ((360, 480, 3), np.uint8)
    # The ground is white and light blue alone; in the middle is what is darker.
    assert frame[150:230, 180:300].min() < 60 < frame[:100].min()


def test_frames_follow_the_actions(make):
    env = make(MINITAUR, render_mode="rgb_array", action_repeat=4)
    assert env.metadata["render_fps"] == 25
    env.reset(seed=0)
    first = env.render()
    for _ in range(5):
        env.step(np.ones(8, np.float32))
    assert not np.array_equal(env.render(), first)


def test_without_a_render_mode_nothing_is_drawn(make):
    env = make(CHEETAH).unwrapped
    env.reset(seed=0)
    assert env.render() is None


def test_a_closed_environment_is_gone(make):
    env = make(CHEETAH).unwrapped
    env.reset(seed=0)
    env.step(np.zeros(6, np.float32))
    env.close()
    env.close()
    make(CHEETAH).reset(seed=0)  # PyBullet gives it the client's id.
    with pytest.raises(bullet.error, match="Not connected"):
        env.step(np.zeros(6, np.float32))


def test_environments_that_are_dropped_free_their_clients():
    connected = sum(bullet.isConnected(i) for i in range(64))
    for _ in range(5):
        gym.make(CHEETAH).reset(seed=0)
    gc.collect()
    assert sum(bullet.isConnected(i) for i in range(64)) == connected


@pytest.mark.fault(31)
def test_errors_say_what_is_wrong(make, monkeypatch):
    with pytest.raises(TypeError, match="unexpected keyword argument 'gravity'"):
        make(MINITAUR, gravity=9.81)
    with pytest.raises(ArgumentError, match=r"one of CartPoleBullet-v1, .*; received 'Minitaur'"):
        ours.PyBulletEnv("Minitaur")
    with pytest.raises(ArgumentError, match="None or \"rgb_array\"; received 'ansi'"):
        ours.PyBulletEnv("MinitaurBullet-v0", render_mode="ansi")
    monkeypatch.delenv("DISPLAY", raising=False)
    with pytest.raises(EnvError, match="needs a display"):
        make(MINITAUR, render=True)
    monkeypatch.setattr(old_gym, "_PACKAGE", "pybullet_envs_that_are_not_there")
    with pytest.raises(StackError, match="comes with PyBullet"):
        make(MINITAUR)


@pytest.mark.slow
@pytest.mark.parametrize("context", ["spawn", "forkserver"])
@pytest.mark.parametrize("env_id", [MINITAUR, CHEETAH])
def test_worker_processes_give_what_this_one_gives(make, env_id, context):
    # A worker knows the id only once it has imported what stands before the colon.
    make_one = functools.partial(gym.make, f"kerasrl:{env_id}")
    vector = gym.vector.AsyncVectorEnv([make_one] * 2, context=context)
    try:
        found = [vector.reset(seed=5)[0]]
        steps = actions(make(env_id), steps=5)
        found += [vector.step(np.stack([action] * 2))[0] for action in steps]
    finally:
        vector.close()
    for i in range(2):
        env = make(env_id)
        expected = [env.reset(seed=5 + i)[0], *(env.step(action)[0] for action in steps)]
        np.testing.assert_array_equal([observation[i] for observation in found], expected)


@pytest.mark.slow
@pytest.mark.parametrize("env_id", IDS)
def test_every_environment_runs(make, env_id):
    steps = 3 if re.search("Zed|Cam|Diverse", env_id) else 50
    one, other = make(env_id, render_mode="rgb_array"), make(env_id)
    first = trajectory(one, seed=3, steps=steps)
    np.testing.assert_array_equal(trajectory(other, seed=3, steps=steps), first)
    np.testing.assert_array_equal(trajectory(one, seed=3, steps=steps), first)
    assert not np.array_equal(trajectory(one, seed=4, steps=steps), first)
    observation, _ = one.reset()
    assert one.observation_space.contains(observation)
    assert np.isfinite(first).all()
    assert one.render().std() > 10
