"""The DeepMind control suite as Gymnasium environments, such as dm_control/walker-run-v0."""

import os
import warnings
from typing import Any

import gymnasium as gym
import numpy as np

from kerasrl.errors import EnvError, StackError

# Written down, because to ask dm_control for them is to import it.
_TASKS = {
    "acrobot": "swingup swingup_sparse",
    "ball_in_cup": "catch",
    "cartpole": "balance balance_sparse swingup swingup_sparse two_poles three_poles",
    "cheetah": "run",
    "dog": "stand walk trot run fetch",
    "finger": "spin turn_easy turn_hard",
    "fish": "upright swim",
    "hopper": "stand hop",
    "humanoid": "stand walk run run_pure_state",
    "humanoid_CMU": "stand walk run",
    "lqr": "lqr_2_1 lqr_6_2",
    "manipulator": "bring_ball bring_peg insert_ball insert_peg",
    "pendulum": "swingup",
    "point_mass": "easy hard",
    "quadruped": "walk run escape fetch",
    "reacher": "easy hard",
    "stacker": "stack_2 stack_4",
    "swimmer": "swimmer6 swimmer15",
    "walker": "stand walk run",
}


class DMControlEnv(gym.Env):
    """A task of the DeepMind control suite, with its observation dictionary.

    An episode that the task ends with a discount of 0 is terminated; one that it ends at its time
    limit, most often after 1000 steps, is truncated.

    Args:
        domain: str, such as "cartpole".
        task: str, such as "balance".
        render_mode: None or "rgb_array".
        width: int, of a rendered frame, in pixels.
        height: int, of a rendered frame, in pixels.
        camera_id: int, the camera that renders: -1 is one that moves freely.

    Raises:
        StackError: when dm_control is not installed.
        EnvError: when there is nothing to render with.

    Reference:
        Tassa et al., "dm_control: software and tasks for continuous control", 2020,
        https://arxiv.org/abs/2006.12983.
    """

    metadata = {"render_modes": ["rgb_array"]}

    def __init__(
        self,
        domain: str,
        task: str,
        render_mode: str | None = None,
        width: int = 320,
        height: int = 240,
        camera_id: int = 0,
    ):
        if render_mode is not None:
            _check_display(render_mode)
        # lqr draws its masses as it is loaded. With this they are always the same ones, so that a
        # seeded reset decides all the rest.
        self._env = _suite().load(domain, task, task_kwargs={"random": 0})
        self._env.task.random.seed()
        self.observation_space = gym.spaces.Dict(
            {key: _box(spec) for key, spec in self._env.observation_spec().items()}
        )
        self.action_space = _box(self._env.action_spec())
        self.render_mode = render_mode
        self._frame = {"width": width, "height": height, "camera_id": camera_id}
        self.metadata = {**self.metadata, "render_fps": round(1 / self._env.control_timestep())}

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[dict, dict]:
        """Begins an episode."""
        super().reset(seed=seed)
        if seed is not None:
            self._env.task.random.seed(self.np_random.integers(2**32, size=4))
        return _arrays(self._env.reset().observation), {}

    def step(self, action: np.ndarray) -> tuple[dict, float, bool, bool, dict]:
        """Takes one step."""
        time_step = self._env.step(action)
        if time_step.reward is None:  # dm_control has begun the next episode instead.
            raise EnvError("step() was called where no episode runs. Call reset() first.")
        ended = time_step.last()
        terminated = ended and time_step.discount == 0
        observation = _arrays(time_step.observation)
        return observation, float(time_step.reward), terminated, ended and not terminated, {}

    def render(self) -> np.ndarray | None:
        """Draws the scene: uint8 `[height, width, 3]`, or None without a `render_mode`."""
        return None if self.render_mode is None else self._env.physics.render(**self._frame)

    def close(self) -> None:
        """Frees the simulation and what renders it; harmless when they are."""
        self._env.physics.free()


def register() -> None:
    """Registers the suite, unless another package has; dm_control is imported by what is made."""
    for domain, tasks in _TASKS.items():
        for task in tasks.split():
            env_id = f"dm_control/{domain}-{task}-v0"
            if env_id not in gym.registry:
                gym.register(
                    env_id,
                    entry_point=f"{__name__}:DMControlEnv",
                    kwargs={"domain": domain, "task": task},
                )


def _suite() -> Any:
    try:
        with warnings.catch_warnings():
            # GLFW warns of it, where rendering may never be asked for.
            warnings.filterwarnings("ignore", message=".*DISPLAY")
            from dm_control import suite
    except ModuleNotFoundError as error:
        raise StackError(
            f"dm_control's environments need packages of an extra; {error}. Install them with: "
            'pip install "kerasrl[dm-control]", with Python up to 3.12: labmaze, which dm_control '
            "asks for, has no wheels for later ones."
        ) from error
    return suite


def _check_display(render_mode: str) -> None:
    # MuJoCo would take GLFW, fail without a word of displays, and abort Python at the second try.
    if not any(os.environ.get(name) for name in ("MUJOCO_GL", "DISPLAY", "WAYLAND_DISPLAY")):
        raise EnvError(
            f"render_mode={render_mode!r} needs a display, or MUJOCO_GL in the environment before "
            "dm_control is imported; neither is set. Start Python with MUJOCO_GL=egl, which needs "
            "libEGL, or with MUJOCO_GL=osmesa, which needs libOSMesa."
        )


def _box(spec: Any) -> gym.spaces.Box:
    low = np.broadcast_to(getattr(spec, "minimum", -np.inf), spec.shape)
    high = np.broadcast_to(getattr(spec, "maximum", np.inf), spec.shape)
    return gym.spaces.Box(low, high, spec.shape, spec.dtype)


def _arrays(observation: dict[str, Any]) -> dict[str, np.ndarray]:
    return {key: np.asarray(value) for key, value in observation.items()}
