"""What callbacks are told of while collecting."""

import keras
import numpy as np
import pytest

from kerasrl import run as runs
from kerasrl.callbacks import CollectEpisodes, CollectRollouts
from kerasrl.testing import CountingEnv


class Counting(CountingEnv):
    """With an info."""

    def step(self, action):
        *rest, _ = super().step(action)
        return *rest, {"cost": 10 * rest[1]}


class Listener(keras.callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.steps, self.episodes = [], []

    def on_env_step(self, observation, action, step):
        self.steps.append((observation[0].tolist(), action.tolist(), step))

    def on_episode_end(self, episode, env_steps):
        self.episodes.append((episode, env_steps))


@pytest.mark.regression(44)
@pytest.mark.parametrize("collector", [CollectRollouts(4), CollectEpisodes(1, 9)])
def test_every_step_and_every_last_info_while_collecting(collected, monkeypatch, collector):
    listener, env = Listener(), Counting((4,))
    run = runs.Run

    def with_listener(*arguments, callbacks, **others):
        return run(*arguments, callbacks=[*callbacks, listener], **others)

    monkeypatch.setattr(runs, "Run", with_listener)
    collected(collector, env, turns=2, reward_scale=0.5)
    assert [time for ([[_, time]], _, _) in listener.steps] == [0, 1, 2, 3] * 2
    assert [action for _, [action], _ in listener.steps] == env.actions
    assert [step.reward[0] for _, _, step in listener.steps] == [1, 2, 3, 4] * 2
    assert [step.infos[0]["cost"] for _, _, step in listener.steps] == [10, 20, 30, 40] * 2
    assert [(episode.info, steps) for episode, steps in listener.episodes] == [
        ({"cost": 40}, 4),
        ({"cost": 40}, 8),
    ]


@pytest.mark.regression(44)
def test_the_success_rate_in_the_logs(make_agent, tiny_env):
    class Succeeding(tiny_env):
        def step(self, action):
            *rest, _ = super().step(action)
            return *rest, {"success": len(self.actions) % 10 == 0}

    class SuccessRate(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            self.successes = []

        def on_episode_end(self, episode, env_steps):
            if hasattr(self, "successes"):
                self.successes.append(episode.info["success"])

        def on_epoch_end(self, epoch, logs=None):
            logs["success_rate"] = np.mean(self.successes)

    agent = make_agent("a2c", {"run_eagerly": True}, build=False)
    collector = CollectRollouts(20)
    callbacks = [collector, SuccessRate()]
    history = agent.fit(Succeeding(), steps_per_epoch=1, callbacks=callbacks, verbose=0).history
    assert history["success_rate"] == [0.5]
