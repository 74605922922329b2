"""Videos of the agent while training."""

import contextlib
import dataclasses
import os
from pathlib import Path
from typing import Any

import gymnasium as gym
import keras
import numpy as np

from kerasrl import envs
from kerasrl.arguments import positive, whole
from kerasrl.errors import ArgumentError, ArgumentTypeError, StackError
from kerasrl.policies import PolicySnapshot

_DEFAULT_FPS = 30


class Video(keras.callbacks.Callback):
    """Films greedy episodes at the end of every so many epochs.

    The seventh epoch's are in `epoch-0007.mp4`, or `epoch-0007-episode-1.mp4` and so on when there
    are several. Each holds the first frame and the one after every step, at the environment's own
    speed. A file is under its name only when it is whole.

    Args:
        directory: str or path, made if it is missing.
        env: a Gymnasium id, which is made with `render_mode="rgb_array"`; or a `gymnasium.Env` made
            so, or a callable that makes one; better not the one that is trained on. Its episodes
            have to end, so limit their steps with `gymnasium.wrappers.TimeLimit`.
        every_epochs: int, epochs from one filming to the next.
        episodes: int, films each time.
        fps: float, frames per second; by default the environment's `metadata["render_fps"]`, or 30.

    Raises:
        ArgumentError: when a number is out of its range.
        StackError: when `imageio` or its ffmpeg is missing.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        env: Any,
        every_epochs: int = 1,
        episodes: int = 1,
        fps: float | None = None,
    ):
        super().__init__()
        _check_imageio()
        self.directory = Path(directory)
        self.env = env
        self.every_epochs = whole("every_epochs", every_epochs)
        self.episodes = whole("episodes", episodes)
        self.fps = positive("fps", fps, "a positive number of frames", optional=True)
        self._resources = contextlib.ExitStack()

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Makes the environment and takes a first frame, so that a mistake shows at once."""
        self._camera = _Camera(_make(self.env))
        if not isinstance(self.env, gym.Env):
            self._resources.callback(self._camera.close)
        faults = dataclasses.replace(self.model.run.faults, on_env_error="raise")
        self._environments = envs.make(self._camera, faults=faults)
        spec = self._environments.spec
        self.model.build(spec)
        self._environments.reset(self.model.run.seed)
        self._camera.frame()
        self._policy = PolicySnapshot(self.model, spec.observation, 1)
        self._fps = self.fps or self._camera.metadata.get("render_fps") or _DEFAULT_FPS
        self.directory.mkdir(parents=True, exist_ok=True)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Films if it is due."""
        if (epoch + 1) % self.every_epochs:
            return
        self._policy.update()
        for i in range(self.episodes):
            episode = f"-episode-{i + 1}" if self.episodes > 1 else ""
            self._film(self.directory / f"epoch-{epoch + 1:04d}{episode}.mp4")

    def close(self) -> None:
        """Closes the environment if it was made here; called by `fit`, whatever happens."""
        self._resources.close()

    def _film(self, path: Path) -> None:
        import imageio.v2 as imageio

        partial = path.with_name(f".{path.stem}.partial{path.suffix}")
        try:
            # Frames are of even sizes already; the default would scale them to multiples of 16.
            writer = imageio.get_writer(partial, fps=self._fps, macro_block_size=1)
            with contextlib.closing(writer):  # Its own __exit__ leaves ffmpeg at work on an error.
                self._run_episode(writer)
            os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)

    def _run_episode(self, writer: Any) -> None:
        observation = self._environments.reset()
        writer.append_data(self._camera.frame())
        while True:
            step = self._environments.step(self._policy(observation))
            writer.append_data(self._camera.after_step)
            if step.episodes:
                return
            observation = step.observation


class _Camera(gym.Wrapper):
    """Keeps the frame after a step, which `Environments` may let a reset follow at once.

    Attributes:
        after_step: uint8 `[height, width, 3]`, both even.
    """

    after_step: np.ndarray

    def step(self, action: Any) -> tuple:
        result = super().step(action)
        self.after_step = self.frame()
        return result

    def frame(self) -> np.ndarray:
        """Renders a frame, its edges repeated up to even sizes, which H.264 asks for."""
        try:
            frame = self.env.render()
        except (NotImplementedError, gym.error.Error) as error:
            raise ArgumentError(f"{self._rule()}; render() failed with: {error!r}.") from error
        if not isinstance(frame, np.ndarray):
            raise ArgumentError(f"{self._rule()}; received {type(frame).__name__}.")
        if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
            raise ArgumentError(f"{self._rule()}; received {frame.dtype} {list(frame.shape)}.")
        height, width, _ = frame.shape
        return np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), "edge")

    def _rule(self) -> str:
        return (
            f"Video needs frames, uint8 [height, width, 3], of {self.env}, whose render_mode is "
            f'{self.env.render_mode!r}. Make it with render_mode="rgb_array"'
        )


def _make(env: Any) -> gym.Env:
    if isinstance(env, str):
        return _make_rendering(env)
    made = env() if callable(env) else env
    if not isinstance(made, gym.Env):
        raise ArgumentTypeError(
            "Video needs one environment: a Gymnasium id, a gymnasium.Env or a callable that makes "
            f"one; received {made!r} of type {type(made).__name__}."
        )
    return made


def _make_rendering(env_id: str) -> gym.Env:
    try:
        return gym.make(env_id, render_mode="rgb_array", disable_env_checker=True)
    except (gym.error.Error, TypeError, ValueError, AssertionError) as error:
        raise ArgumentError(
            f'Video makes {env_id} with gymnasium.make({env_id!r}, render_mode="rgb_array"), which '
            f"failed with: {error}. Pass the id of an environment that can render, or a callable "
            "that makes one."
        ) from error


def _check_imageio() -> None:
    try:
        import imageio.v2  # noqa: F401
        import imageio_ffmpeg
    except ImportError as error:
        raise StackError(
            'Video needs imageio and its ffmpeg. Install them with: pip install "kerasrl[video]".'
        ) from error
    imageio_ffmpeg.get_ffmpeg_exe()
