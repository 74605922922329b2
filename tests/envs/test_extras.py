"""Environments that come with an extra: the control suite, Box2D and Atari."""

import functools
import re
import subprocess
import sys
import warnings
from importlib.util import find_spec
from pathlib import Path

import gymnasium as gym
import keras
import numpy as np
import pytest
import tensorflow as tf
from gymnasium.utils.env_checker import check_env

import kerasrl
from kerasrl.callbacks import Collect
from kerasrl.compatibility import dtype_of
from kerasrl.envs.suites import dm_control
from kerasrl.errors import EnvError, StackError
from kerasrl.networks import NatureCNN


def needs(extra, *packages):
    missing = [package for package in packages if find_spec(package) is None]
    reason = f'{", ".join(missing)} missing: pip install "kerasrl[{extra}]"'
    return pytest.mark.skipif(bool(missing), reason=reason)


needs_dm_control = needs("dm-control", "dm_control")
needs_box2d = needs("box2d", "Box2D")
needs_atari = needs("atari", "ale_py", "cv2")

BALANCE = "dm_control/cartpole-balance-v0"


def run(agent, env, batches=3):
    agent.compile()
    history = agent.fit(
        env,
        epochs=1,
        steps_per_epoch=batches,
        batch_size=8,
        callbacks=[Collect(warmup_steps=64)],
        verbose=0,
    ).history
    assert np.isfinite(history["loss"]).all()
    return agent


def trajectory(env, steps=10, **reset):
    """The observations and rewards after actions that are the same every time."""
    rng = np.random.default_rng(0)
    observation, _ = env.reset(**reset)
    found = [np.concatenate([np.ravel(leaf) for leaf in tf.nest.flatten(observation)])]
    for _ in range(steps):
        observation, reward, *_ = env.step(rng.uniform(-1, 1, env.action_space.shape))
        found.append(np.concatenate([*map(np.ravel, tf.nest.flatten(observation)), [reward]]))
    return np.concatenate(found)


@pytest.fixture
def cartpole():
    env = gym.make(BALANCE)
    yield env
    env.close()


@needs_dm_control
@pytest.mark.filterwarnings("ignore:.*DISPLAY")
def test_the_suite_is_registered():
    from dm_control import suite

    tasks = {
        env_id.removeprefix("dm_control/").removesuffix("-v0")
        for env_id in gym.registry
        if env_id.startswith("dm_control/")
    }
    assert {"-".join(task) for task in suite.BENCHMARKING} <= tasks
    assert tasks <= {"-".join(task) for task in suite.ALL_TASKS}


def test_what_is_registered_is_left_alone(monkeypatch):
    other = gym.envs.registration.EnvSpec(BALANCE, entry_point="other:Env")
    monkeypatch.setitem(gym.registry, BALANCE, other)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dm_control.register()
    assert gym.registry[BALANCE] is other


@pytest.mark.thorough
def test_kerasrl_alone_imports_no_extra(run_python):
    run_python(
        "import gymnasium, kerasrl, sys\n"
        f"assert {BALANCE!r} in gymnasium.registry\n"
        "assert not {'dm_control', 'mujoco', 'Box2D', 'ale_py', 'cv2'} & set(sys.modules)\n"
    )


def test_without_dm_control_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "dm_control", None)
    with pytest.raises(StackError, match=r'pip install "kerasrl\[dm-control\]"'):
        gym.make(BALANCE)


@needs_dm_control
def test_the_spaces_are_the_suites(cartpole):
    box = gym.spaces.Box
    assert cartpole.observation_space == gym.spaces.Dict(
        position=box(-np.inf, np.inf, (3,), np.float64),
        velocity=box(-np.inf, np.inf, (2,), np.float64),
    )
    assert cartpole.action_space == box(-1, 1, (1,), np.float64)
    assert cartpole.metadata["render_fps"] == 100  # The suite acts every 0.01 s.


@needs_dm_control
@pytest.mark.filterwarnings("ignore:.*DISPLAY")
def test_what_happens_is_what_happens_in_dm_control(cartpole):
    from dm_control import suite

    raw = suite.load("cartpole", "balance")
    raw.reset()
    cartpole.reset(seed=0)
    with raw.physics.reset_context():
        raw.physics.set_state(cartpole.unwrapped._env.physics.get_state())
    for action in np.random.default_rng(0).uniform(-1, 1, (20, 1)):
        expected = raw.step(action)
        observation, reward, terminated, truncated, _ = cartpole.step(action)
        assert type(reward) is float
        assert not terminated and not truncated
        np.testing.assert_allclose(reward, expected.reward, rtol=1e-9)
        for key, value in expected.observation.items():
            np.testing.assert_allclose(observation[key], value, rtol=1e-9)


@needs_dm_control
@pytest.mark.parametrize("task", ["cartpole-balance", "lqr-lqr_2_1", "fish-upright"])
def test_a_seed_decides_everything(task):
    one, other = (gym.make(f"dm_control/{task}-v0") for _ in range(2))
    first = trajectory(one, seed=3)
    np.testing.assert_array_equal(trajectory(other, seed=3), first)
    second = trajectory(one)
    assert not np.array_equal(second, first)
    np.testing.assert_array_equal(trajectory(other), second)
    assert not np.array_equal(trajectory(one, seed=4), first)


@needs_dm_control
def test_without_a_seed_every_environment_is_another():
    assert not np.array_equal(trajectory(gym.make(BALANCE)), trajectory(gym.make(BALANCE)))


@needs_dm_control
def test_the_time_limit_truncates(cartpole):
    cartpole.reset(seed=0)
    ends = [cartpole.step(np.zeros(1))[2:4] for _ in range(1000)]
    assert ends == [(False, False)] * 999 + [(False, True)]
    with pytest.raises(EnvError, match=r"no episode runs. Call reset\(\)"):
        cartpole.step(np.zeros(1))


@needs_dm_control
@pytest.mark.parametrize(("discount", "ends"), [(0.0, (True, False)), (1.0, (False, True))])
def test_a_discount_of_0_terminates(cartpole, monkeypatch, discount, ends):
    cartpole.reset(seed=0)
    task = cartpole.unwrapped._env.task
    monkeypatch.setattr(task, "get_termination", lambda physics: discount)
    assert cartpole.step(np.zeros(1))[2:4] == ends


@needs_dm_control
@pytest.mark.parametrize("task", ["cartpole-balance", "finger-turn_easy", "quadruped-walk"])
def test_gymnasium_finds_nothing_wrong(task):
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        # Gymnasium has its doubts about any unbounded space.
        warnings.filterwarnings("ignore", message=".*(infinity|finite|symmetric and normalized)")
        check_env(gym.make(f"dm_control/{task}-v0").unwrapped, skip_render_check=True)


@needs_dm_control
def test_it_may_be_closed_twice():
    env = gym.make(BALANCE)
    env.reset()
    env.close()
    env.close()


@needs_dm_control
def test_nothing_to_render_with(monkeypatch):
    for name in ("MUJOCO_GL", "DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(EnvError, match="needs a display, or MUJOCO_GL .* neither is set"):
        gym.make(BALANCE, render_mode="rgb_array")


@needs_dm_control
@pytest.mark.thorough
def test_a_frame(run_python):
    begin = "import os, tensorflow\nos.environ['MUJOCO_GL'] = 'egl'\n"
    alone = "from dm_control import suite\nsuite.load('cartpole', 'balance').physics.render(8, 8)\n"
    if subprocess.run([sys.executable, "-c", begin + alone], capture_output=True).returncode:
        pytest.skip("dm_control does not render through EGL beside this TensorFlow here")
    output = run_python(
        begin + "import gymnasium, kerasrl\n"
        f"env = gymnasium.make({BALANCE!r}, render_mode='rgb_array', width=64, height=48)\n"
        "env.reset(seed=0)\n"
        "frame = env.render()\n"
        "env.close()\n"
        "print(frame.shape, frame.dtype, len(set(frame.ravel().tolist())) > 10)\n"
    )
    assert output.strip().endswith("(48, 64, 3) uint8 True")


@needs_dm_control
@pytest.mark.thorough
def test_sac_learns_from_float64_dictionaries_in_float32():
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        agent = run(kerasrl.SAC(), BALANCE)
    assert agent.actor.compute_dtype == "float32"
    assert agent.actor.output.dtype == tf.float32
    weights = agent.actor.weights + agent.critic.weights
    assert {dtype_of(weight) for weight in weights} == {tf.float32}
    observation = gym.make(BALANCE).reset(seed=0)[0]
    (action,) = agent.predict({key: leaf[None] for key, leaf in observation.items()}, verbose=0)
    assert agent.action_space.contains(action)


@needs_box2d
@pytest.mark.parametrize(("agent", "continuous"), [(kerasrl.DQN, False), (kerasrl.SAC, True)])
@pytest.mark.table
def test_lunar_lander(agent, continuous):
    run(agent(), functools.partial(gym.make, "LunarLander-v3", continuous=continuous))


def test_without_ale_py_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "ale_py", None)
    with pytest.raises(StackError, match=r'pip install "kerasrl\[atari\]"'):
        kerasrl.envs.atari("ALE/Pong-v5")


def play(env, steps, seed=0):
    """The frames, rewards and endings of actions that are the same every time."""
    rng = np.random.default_rng(seed)
    observation, info = env.reset(seed=seed)
    found = [(observation, 0.0, False, info)]
    while len(found) <= steps and not found[-1][2]:
        observation, reward, terminated, _, info = env.step(rng.integers(env.action_space.n))
        found.append((observation, reward, terminated, info))
    env.close()
    return list(zip(*found, strict=True))


@needs_atari
@pytest.mark.parametrize("env_id", ["ALE/MsPacman-v5", "MsPacmanNoFrameskip-v4"])
@pytest.mark.parametrize("frame_stack", [1, 3])
def test_frames_are_skipped_and_stacked_with_the_latest_last(env_id, frame_stack):
    env = kerasrl.envs.atari(env_id, frame_stack)
    single = gym.make(env_id, frameskip=1)
    frames, *_ = play(gym.wrappers.AtariPreprocessing(single), 6)
    assert env.observation_space == gym.spaces.Box(0, 255, (84, 84, frame_stack), np.uint8)
    stacks, _, _, infos = play(env, 6)
    numbers = [info["frame_number"] for info in infos]
    assert np.diff(numbers).tolist() == [4] * 6
    padded = [frames[0]] * (frame_stack - 1) + list(frames)
    for i, stack in enumerate(stacks):
        assert stack.dtype == np.uint8
        np.testing.assert_array_equal(stack, np.stack(padded[i : i + frame_stack], axis=-1))


@needs_atari
def test_rewards_are_clipped_where_that_is_asked():
    _, rewards, _, _ = play(kerasrl.envs.atari("ALE/MsPacman-v5"), 150)
    _, clipped, _, _ = play(kerasrl.envs.atari("ALE/MsPacman-v5", clip_rewards=True), 150)
    assert max(rewards) >= 10  # A pellet.
    np.testing.assert_array_equal(clipped, np.clip(rewards, -1, 1))


@needs_atari
@pytest.mark.parametrize(("terminal_on_life_loss", "lives"), [(True, 4), (False, 0)])
def test_a_lost_life_ends_the_episode_where_that_is_asked(terminal_on_life_loss, lives):
    env = kerasrl.envs.atari("ALE/Breakout-v5", terminal_on_life_loss=terminal_on_life_loss)
    _, _, terminated, infos = play(env, 2_000)
    assert terminated[-1]
    assert infos[-1]["lives"] == lives


@needs_atari
def test_arguments_of_the_game_reach_it():
    env = kerasrl.envs.atari("ALE/Pong-v5", full_action_space=True)
    assert env.action_space == gym.spaces.Discrete(18)


@needs_atari
def test_dqn_plays_pong():
    q_network = keras.Sequential([NatureCNN(), keras.layers.Dense(6)])
    agent = run(kerasrl.DQN(q_network), lambda: kerasrl.envs.atari("ALE/Pong-v5"), batches=1)
    assert q_network.input_shape == (None, 84, 84, 4)
    assert agent.predict(np.zeros((2, 84, 84, 4), np.uint8), verbose=0).shape == (2,)


@needs_atari
def test_the_snippet_of_the_docs_runs():
    # tests/test_docs.py runs what is marked python; the extra is not one of those that tests have.
    page = Path(__file__).parents[2] / "docs" / "environments.md"
    (source,) = re.findall(r"^```py\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)
    shorter = {"=2_000_000": "=144", "=50_000": "=64", "=1_000": "=16", "episodes=10": "episodes=1"}
    for long, short in shorter.items():
        assert source.count(long) == 1
        source = source.replace(long, short)
    exec(compile(source, "snippet", "exec"), {})
