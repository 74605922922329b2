"""Atari games as most papers play them."""

from typing import Any

import gymnasium as gym
import numpy as np

from kerasrl.errors import StackError


def atari(
    env_id: str,
    frame_stack: int = 4,
    terminal_on_life_loss: bool = False,
    clip_rewards: bool = False,
    **kwargs: Any,
) -> gym.Env:
    """Makes an Atari game with the usual preprocessing, out of Gymnasium's own wrappers.

    An episode begins with 1 to 30 no-ops. Every action is repeated for 4 frames, whose rewards are
    added up and of whose last two the brighter pixels are kept, in grey and resized to 84 x 84.
    In the games named "ALE/...-v5" an action is replaced by the one before it in a quarter of the
    frames; `repeat_action_probability=0.0` turns that off.

    Args:
        env_id: str, such as "ALE/Pong-v5"; of one that skips frames by itself, that is turned off.
        frame_stack: int, observations stacked into one, the latest one last.
        terminal_on_life_loss: bool, whether a lost life ends the episode.
        clip_rewards: bool, whether rewards are clipped to [-1, 1], as for training in the paper; it
            changes what `episode_return` means, so leave it out where you evaluate.
        **kwargs: arguments of `gymnasium.make` and of the game.

    Returns:
        `gymnasium.Env` with uint8 observations `[84, 84, frame_stack]`.

    Raises:
        StackError: when ale-py or OpenCV is not installed.

    Reference:
        Mnih et al., "Human-level control through deep reinforcement learning", 2015; Machado et
        al., "Revisiting the Arcade Learning Environment", 2018, https://arxiv.org/abs/1709.06009.
    """
    _register()
    env = gym.make(env_id, frameskip=1, disable_env_checker=True, **kwargs)
    env = gym.wrappers.AtariPreprocessing(env, terminal_on_life_loss=terminal_on_life_loss)
    if clip_rewards:
        env = gym.wrappers.ClipReward(env, -1.0, 1.0)
    env = gym.wrappers.FrameStackObservation(env, frame_stack)
    space = gym.spaces.Box(0, 255, (84, 84, frame_stack), np.uint8)
    return gym.wrappers.TransformObservation(env, _channels_last, space)


def _channels_last(frames: np.ndarray) -> np.ndarray:
    return np.moveaxis(frames, 0, -1)


def _register() -> None:
    try:
        import ale_py
        import cv2  # noqa: F401  AtariPreprocessing resizes with it.
    except ModuleNotFoundError as error:
        raise StackError(
            f"Atari games need packages of an extra; {error}. Install them with: "
            'pip install "kerasrl[atari]"'
        ) from error
    gym.register_envs(ale_py)  # Importing it was enough.
