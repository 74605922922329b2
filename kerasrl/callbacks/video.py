"""Videos of the agent, while training and after."""

import contextlib
import dataclasses
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import keras
import numpy as np

from kerasrl import envs
from kerasrl.arguments import positive, seed_of, whole
from kerasrl.callbacks.evaluation import faults_of
from kerasrl.envs import FaultPolicy
from kerasrl.errors import ArgumentError, ArgumentTypeError, StackError
from kerasrl.policies import run_episodes
from kerasrl.policies.episodes import check_max_episode_steps

#: int, steps after which a film is broken off unless told otherwise.
MAX_FILMED_STEPS = 10_000
_DEFAULT_FPS = 30


class Video(keras.callbacks.Callback):
    """Films greedy episodes at the end of every so many epochs.

    The seventh epoch's are in `epoch-0007.mp4`, or `epoch-0007-episode-1.mp4` and so on when there
    are several. Each holds the first frame and the one after every step, at the environment's own
    speed. A file is under its name only when it is whole.

    Args:
        directory: str or path, made if it is missing.
        env: a Gymnasium id, which is made with `render_mode="rgb_array"`; or a `gymnasium.Env` made
            so, or a callable that makes one; better not the one that is trained on.
        every_epochs: int, epochs from one filming to the next.
        episodes: int, films each time.
        fps: float, frames per second; by default the environment's `metadata["render_fps"]`, or 30.
        max_episode_steps: int, steps after which an episode that has not ended is broken off, with
            a warning; None for no limit. The default makes five and a half minutes at 30 frames
            per second.

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
        max_episode_steps: int | None = MAX_FILMED_STEPS,
    ):
        super().__init__()
        _check_imageio()
        check_max_episode_steps(max_episode_steps)
        self.directory = Path(directory)
        self.env = env
        self.every_epochs = whole("every_epochs", every_epochs)
        self.episodes = whole("episodes", episodes)
        self.fps = _rate(fps)
        self.max_episode_steps = max_episode_steps
        self._resources = contextlib.ExitStack()

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Makes the environment and takes a first frame, so that a mistake shows at once."""
        run = self.model.run
        self._studio = self._resources.enter_context(
            _Studio(self.model, self.env, self.fps, self.max_episode_steps, faults_of(self.model))
        )
        self._studio.try_out(None if run is None else run.seed)
        self.directory.mkdir(parents=True, exist_ok=True)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Films if it is due."""
        if (epoch + 1) % self.every_epochs == 0:
            self._studio.film(_paths(self.directory / f"epoch-{epoch + 1:04d}.mp4", self.episodes))

    def close(self) -> None:
        """Closes the environment if it was made here; called by `fit`, whatever happens."""
        self._resources.close()


def film(
    agent: keras.Model,
    env: Any,
    path: str | os.PathLike[str],
    episodes: int,
    fps: float | None,
    seed: int | None,
    max_episode_steps: int | None,
) -> list[Path]:
    """Films greedy episodes; see `Agent.film`."""
    _check_imageio()
    check_max_episode_steps(max_episode_steps)
    episodes, fps, seed = whole("episodes", episodes), _rate(fps), seed_of(seed)
    path = Path(path)
    paths = _paths(path, episodes) if path.suffix else _numbered(path / "episode.mp4", episodes)
    with _Studio(agent, env, fps, max_episode_steps, FaultPolicy()) as studio:
        studio.try_out(seed)
        paths[0].parent.mkdir(parents=True, exist_ok=True)
        studio.film(paths, seed)
    return paths


def _paths(path: Path, episodes: int) -> list[Path]:
    if episodes == 1:
        return [path]
    return _numbered(path.with_name(f"{path.stem}-episode{path.suffix}"), episodes)


def _numbered(path: Path, episodes: int) -> list[Path]:
    return [path.with_name(f"{path.stem}-{i + 1}{path.suffix}") for i in range(episodes)]


class _Studio:
    """Where an agent is filmed; as a context manager it closes the environment if it made it."""

    def __init__(
        self,
        agent: keras.Model,
        env: Any,
        fps: float | None,
        max_episode_steps: int | None,
        faults: FaultPolicy,
    ):
        self._max_episode_steps = max_episode_steps
        self._resources = contextlib.ExitStack()
        with contextlib.ExitStack() as made:
            self._camera = _Camera(_make(env))
            if not isinstance(env, gym.Env):
                made.callback(self._camera.close)
            faults = dataclasses.replace(faults, on_env_error="raise")
            self._environments = envs.make(self._camera, faults=faults)
            made.callback(self._environments.close)
            self._policy = agent.make_policy(self._environments.spec)
            self._fps = fps or self._camera.metadata.get("render_fps") or _DEFAULT_FPS
            self._resources = made.pop_all()

    def __enter__(self) -> "_Studio":
        return self

    def __exit__(self, *_: Any) -> None:
        self._resources.close()

    def try_out(self, seed: int | None) -> None:
        """Takes a first frame, for mistakes to show."""
        self._environments.reset(seed)
        self._camera.frame()

    def film(self, paths: list[Path], seed: int | None = None) -> None:
        """Films an episode for each path, with the agent's present weights."""
        self._policy.update()
        self._policy.check_weights()
        for path in paths:
            self._film(path, seed)
            seed = None

    def _film(self, path: Path, seed: int | None) -> None:
        import imageio.v2 as imageio

        partial = path.with_name(f".{path.stem}.partial{path.suffix}")
        try:
            # Frames are of even sizes already; the default would scale them to multiples of 16.
            writer = imageio.get_writer(partial, fps=self._fps, macro_block_size=1)
            with contextlib.closing(writer):  # Its own __exit__ leaves ffmpeg at work on an error.
                self._camera.take = writer.append_data
                run_episodes(
                    self._policy,
                    self._environments,
                    1,
                    seed,
                    max_episode_steps=self._max_episode_steps,
                )
            os.replace(partial, path)
        finally:
            self._camera.take = None
            partial.unlink(missing_ok=True)


class _Camera(gym.Wrapper):
    """Hands the frames of one episode to `take`: `Environments` may let a reset follow its end.

    Attributes:
        take: callable of a uint8 array `[height, width, 3]`, both even; None to take none.
    """

    take: Callable[[np.ndarray], Any] | None = None

    def reset(self, **arguments: Any) -> tuple:
        result = super().reset(**arguments)
        if self.take is not None:
            self.take(self.frame())
        return result

    def step(self, action: Any) -> tuple:
        result = super().step(action)
        if self.take is not None:
            self.take(self.frame())
            if result[2] or result[3]:
                self.take = None
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


def _rate(fps: Any) -> float | None:
    return positive("fps", fps, "a positive number of frames", optional=True)


def _check_imageio() -> None:
    try:
        import imageio.v2  # noqa: F401
        import imageio_ffmpeg
    except ImportError as error:
        raise StackError(
            'Video needs imageio and its ffmpeg. Install them with: pip install "kerasrl[video]".'
        ) from error
    imageio_ffmpeg.get_ffmpeg_exe()
