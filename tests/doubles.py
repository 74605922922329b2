"""Callbacks that several tests use."""

import keras

from kerasrl.callbacks import Collect, CollectEpisodes, CollectRollouts


def collector_of(agent):
    """One of the class that the agent collects with, which collects little."""
    (own,) = [c for c in agent.default_callbacks() if hasattr(c, "act")]
    small = {
        Collect: lambda: Collect(warmup_steps=32),
        CollectRollouts: lambda: CollectRollouts(8),
        CollectEpisodes: lambda: CollectEpisodes(1, 8),
    }
    return small[type(own)]()


class Told(keras.callbacks.Callback):
    """Notes what it is told of a test."""

    def __init__(self):
        super().__init__()
        self.told = []

    def on_test_begin(self, logs=None):
        self.told.append("begin")

    def on_test_batch_begin(self, batch, logs=None):
        self.told.append(batch)

    def on_test_batch_end(self, batch, logs=None):
        self.told.append((batch, logs["episode_return"], logs["episode_length"]))

    def on_test_end(self, logs=None):
        self.told.append(logs)
