"""PyBullet's own environments for Gymnasium, such as kerasrl/MinitaurBullet-v0."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np

from kerasrl.envs.suites.old_gym import OldModules
from kerasrl.errors import ArgumentError

_WIDTH, _HEIGHT = 480, 360


class _Kind(NamedTuple):
    """What environments of one kind have in common, read from the environment.

    Args:
        seconds: The simulated time of a step.
        target: What the camera looks at, [3].
        camera: Its distance, in metres, its yaw and its pitch, in degrees.
        out_of_steps: Whether an episode that is done has but reached the class's own step limit.
    """

    seconds: Callable[[Any], float]
    target: Callable[[Any], Sequence[float]]
    camera: tuple[float, float, float]
    out_of_steps: Callable[[Any], bool] = lambda env: False


class _Task(NamedTuple):
    entry_point: str
    max_episode_steps: int
    kind: _Kind
    kwargs: Mapping[str, Any] = {}


def _origin(env: Any) -> Sequence[float]:
    return 0.0, 0.0, 0.0


def _car(env: Any) -> Sequence[float]:
    return env._p.getBasePositionAndOrientation(env._racecar.racecarUniqueId)[0]


def _tray(env: Any) -> Sequence[float]:
    return 0.52, -0.2, -0.33


def _repeated(env: Any) -> float:
    return env._timeStep * env._actionRepeat


_MINITAUR = _Kind(
    lambda env: env._time_step * env._action_repeat,
    lambda env: env.minitaur.GetBasePosition(),
    (1.0, 0.0, -30.0),
)
_WALKER = _Kind(lambda env: 0.0165, lambda env: env.robot.body_real_xyz, (3.0, 0.0, -30.0))
_PENDULUM = _Kind(lambda env: 0.0165, _origin, (3.0, 0.0, -30.0))
_REACHER = _Kind(lambda env: 0.0165, _origin, (0.8, 0.0, -89.0))
_MANIPULATOR = _Kind(lambda env: 0.01, _origin, (2.0, 0.0, -30.0))
_CARTPOLE = _Kind(lambda env: 0.02, _origin, (2.0, 0.0, 0.3))
_RACECAR = _Kind(_repeated, _car, (3.0, 0.0, -30.0), lambda env: True)  # It ends in no other way.
_KUKA = _Kind(_repeated, _tray, (1.3, 180.0, -40.0), lambda env: not env.terminated)
_GRASPING = _KUKA._replace(out_of_steps=lambda env: not env._attempted_grasp)

# By the names in pybullet_envs/__init__.py, less "Env".
_TASKS = {
    "CartPoleBullet-v1": _Task("bullet.cartpole_bullet:CartPoleBulletEnv", 200, _CARTPOLE),
    "CartPoleContinuousBullet-v0": _Task(
        "bullet.cartpole_bullet:CartPoleContinuousBulletEnv", 200, _CARTPOLE
    ),
    "MinitaurBullet-v0": _Task("bullet.minitaur_gym_env:MinitaurBulletEnv", 1000, _MINITAUR),
    "MinitaurBulletDuck-v0": _Task(
        "bullet.minitaur_duck_gym_env:MinitaurBulletDuckEnv", 1000, _MINITAUR
    ),
    "RacecarBullet-v0": _Task("bullet.racecarGymEnv:RacecarGymEnv", 1000, _RACECAR),
    "RacecarZedBullet-v0": _Task(
        "bullet.racecarZEDGymEnv:RacecarZEDGymEnv", 1000, _RACECAR, {"renders": False}
    ),
    "KukaBullet-v0": _Task("bullet.kukaGymEnv:KukaGymEnv", 1000, _KUKA),
    "KukaCamBullet-v0": _Task("bullet.kukaCamGymEnv:KukaCamGymEnv", 1000, _KUKA),
    "KukaDiverseObjectGrasping-v0": _Task(
        "bullet.kuka_diverse_object_gym_env:KukaDiverseObjectEnv", 1000, _GRASPING
    ),
    "InvertedPendulumBullet-v0": _Task(
        "gym_pendulum_envs:InvertedPendulumBulletEnv", 1000, _PENDULUM
    ),
    "InvertedDoublePendulumBullet-v0": _Task(
        "gym_pendulum_envs:InvertedDoublePendulumBulletEnv", 1000, _PENDULUM
    ),
    "InvertedPendulumSwingupBullet-v0": _Task(
        "gym_pendulum_envs:InvertedPendulumSwingupBulletEnv", 1000, _PENDULUM
    ),
    "ReacherBullet-v0": _Task("gym_manipulator_envs:ReacherBulletEnv", 150, _REACHER),
    "PusherBullet-v0": _Task("gym_manipulator_envs:PusherBulletEnv", 150, _MANIPULATOR),
    "ThrowerBullet-v0": _Task("gym_manipulator_envs:ThrowerBulletEnv", 100, _MANIPULATOR),
    "Walker2DBullet-v0": _Task("gym_locomotion_envs:Walker2DBulletEnv", 1000, _WALKER),
    "HalfCheetahBullet-v0": _Task("gym_locomotion_envs:HalfCheetahBulletEnv", 1000, _WALKER),
    "AntBullet-v0": _Task("gym_locomotion_envs:AntBulletEnv", 1000, _WALKER),
    "HopperBullet-v0": _Task("gym_locomotion_envs:HopperBulletEnv", 1000, _WALKER),
    "HumanoidBullet-v0": _Task("gym_locomotion_envs:HumanoidBulletEnv", 1000, _WALKER),
    "HumanoidFlagrunBullet-v0": _Task(
        "gym_locomotion_envs:HumanoidFlagrunBulletEnv", 1000, _WALKER
    ),
    "HumanoidFlagrunHarderBullet-v0": _Task(
        "gym_locomotion_envs:HumanoidFlagrunHarderBulletEnv", 1000, _WALKER
    ),
}


class PyBulletEnv(gym.Env):
    """One of the environments that come with PyBullet.

    Observations are float32, and images uint8. Vectors have no bounds, because those that the
    classes state do not hold: Minitaur's legs turn further than pi. An episode is terminated where
    the task ends it, and truncated where the class has a step limit of its own. Every copy has a
    physics client and random generators of its own.

    Args:
        name: str, its id without the namespace, such as "MinitaurBullet-v0".
        render_mode: None or "rgb_array".
        **kwargs: Whatever the environment's own class takes.

    Raises:
        ArgumentError: when there is no such environment, or `render_mode` is another.
        TypeError: when the environment's class takes no such argument.

    Reference:
        Coumans and Bai, "PyBullet, a Python module for physics simulation for games, robotics and
        machine learning", 2016-2021, https://pybullet.org.
    """

    metadata = {"render_modes": ["rgb_array"]}

    def __init__(self, name: str, render_mode: str | None = None, **kwargs: Any):
        if name not in _TASKS:
            raise ArgumentError(f"name must be one of {', '.join(_TASKS)}; received {name!r}.")
        if render_mode not in (None, "rgb_array"):
            raise ArgumentError(
                f'render_mode must be None or "rgb_array"; received {render_mode!r}.'
            )
        self.render_mode = render_mode
        self._task = _TASKS[name]
        self._kwargs = {**self._task.kwargs, **kwargs}
        self._make(seed=None)
        self.observation_space = _observation_space(self._env.observation_space)
        self.action_space = self._env.action_space
        fps = max(1, round(1 / self._task.kind.seconds(self._env)))
        self.metadata = {**self.metadata, "render_fps": fps}

    def reset(
        self, *, seed: int | None = None, options: dict | None = None
    ) -> tuple[np.ndarray, dict]:
        """Begins an episode. A seed decides it and all that follow, whatever went before."""
        super().reset(seed=seed)
        if seed is not None:
            # A simulation keeps a trace of earlier episodes, which only a new one is free of.
            self.close()
            self._make(seed)
        return self._read(self._env.reset()), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict]:
        """Takes one step."""
        if isinstance(self.action_space, gym.spaces.Discrete):
            action = int(action)
        observation, reward, done, info = self._env.step(action)
        truncated = bool(done) and self._task.kind.out_of_steps(self._env)
        terminated = bool(done) and not truncated
        return self._read(observation), float(reward), terminated, truncated, info

    def render(self) -> np.ndarray | None:
        """Draws the scene: uint8 `[360, 480, 3]`, or None without a `render_mode`."""
        if self.render_mode is None:
            return None
        physics, kind = self._modules.physics, self._task.kind
        distance, yaw, pitch = kind.camera
        view = physics.computeViewMatrixFromYawPitchRoll(
            kind.target(self._env), distance, yaw, pitch, 0, 2
        )
        projection = physics.computeProjectionMatrixFOV(60, _WIDTH / _HEIGHT, 0.1, 100)
        pixels = physics.getCameraImage(
            _WIDTH, _HEIGHT, view, projection, renderer=physics.ER_TINY_RENDERER
        )[2]
        return np.reshape(pixels, (_HEIGHT, _WIDTH, 4))[..., :3].astype(np.uint8)

    def close(self) -> None:
        """Disconnects the physics client; harmless when it is."""
        self._modules.physics.disconnect()

    def _make(self, seed: int | None) -> None:
        self._modules = OldModules(seed)
        make = self._modules.load(f"pybullet_envs.{self._task.entry_point}")
        self._env = make(**self._kwargs)

    def _read(self, observation: Any) -> np.ndarray:
        return np.asarray(observation, self.observation_space.dtype)


def register() -> None:
    """Registers the environments, unless they are; PyBullet is imported by what is made."""
    for name, task in _TASKS.items():
        env_id = f"kerasrl/{name}"
        if env_id not in gym.registry:
            gym.register(
                env_id,
                entry_point=f"{__name__}:PyBulletEnv",
                max_episode_steps=task.max_episode_steps,
                kwargs={"name": name},
            )


def _observation_space(space: gym.spaces.Box) -> gym.spaces.Box:
    if len(space.shape) == 3:
        return gym.spaces.Box(0, 255, space.shape, np.uint8)
    return gym.spaces.Box(-np.inf, np.inf, space.shape, np.float32)
