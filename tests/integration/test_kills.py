"""A run that is killed at any moment goes on from a whole checkpoint, with all that was in it."""

import json
import random
import signal
import time
import warnings

import pytest

from kerasrl.checkpoints.directory import CheckpointDirectory

SCRIPT = """
import json, sys, warnings
import gymnasium as gym, keras, numpy as np, kerasrl
from kerasrl.callbacks import Checkpoint, Collect

warnings.simplefilter("error", UserWarning)  # A checkpoint that is not whole would be warned of.

class Life(gym.Env):
    # Observes how many steps it has lived, so that every transition is known.
    observation_space = gym.spaces.Box(0, np.inf, (1,), np.float64)
    action_space = gym.spaces.Discrete(2)
    time = 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.array([self.time], float), {}

    def step(self, action):
        self.time += 1
        return np.array([self.time], float), 0.0, False, self.time % 50 == 0, {}

    def get_state(self):
        return {"time": self.time}

    def set_state(self, state):
        self.time = state["time"]

class Tell(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        run = self.model.run
        if run.resumed is not None and epoch == 0:
            sampler, packer = run.replay._table._sampler, run.replay.packer
            rows = np.concatenate([sampler._fetch(key) for key in sampler._keys])
            (field,) = packer.fields["observation"]
            lived = sorted(rows.view(packer.dtype)[field].ravel())
            info = run.replay.info()
            print("RESUMED", json.dumps({
                "checkpoint": run.resumed.directory.name,
                "iterations": int(self.model.optimizer.iterations),
                "lived": [lived[0], lived[-1], len(lived)], "together": len(set(lived)),
                "inserted": info.rate_limiter_info.insert_stats.completed,
                "size": run.replay.size, "env_steps": int(self.model.env_steps),
            }), flush=True)
        print("FITTING", flush=True)

scaled = keras.layers.Rescaling(1e-4)
layers = [keras.Input((1,)), scaled, keras.layers.Dense(8), keras.layers.Dense(2)]
agent = kerasrl.DQN(keras.Sequential(layers), n_step=1)
agent.compile()
agent.fit(
    Life(), epochs=1_000, steps_per_epoch=1_000_000, seed=0, batch_size=16, verbose=0,
    replay=kerasrl.replay.Uniform(2_048),
    callbacks=[Collect(4, 512), Tell(), Checkpoint(DIRECTORY, every_seconds=1)],
)
"""
CAPACITY, BLOCK = 2_048, 64


def check_resumed(told, kept):
    """What the new process found is exactly what the newest checkpoint is of."""
    assert told["checkpoint"] == kept.name
    assert told["iterations"] == int(kept.name.removeprefix("step-"))
    collected = 512 + 4 * told["iterations"]
    assert told["env_steps"] == collected
    blocks = collected // BLOCK
    assert told["inserted"] == blocks
    assert told["size"] == told["together"] == min(blocks * BLOCK, CAPACITY)
    assert told["lived"] == [blocks * BLOCK - told["size"], blocks * BLOCK - 1, told["size"]]


@pytest.mark.fault(46)
@pytest.mark.timeout(3_600)
@pytest.mark.slow
@pytest.mark.parametrize("kills", [2, 100])
def test_kills_at_random_moments(run_python, tmp_path, kills):
    rng = random.Random(0)
    script = SCRIPT.replace("DIRECTORY", repr(str(tmp_path / "run")))
    kept, cut_short = None, 0
    for _ in range(kills + 1):
        process = run_python.start(script)
        try:
            lines = []
            while not (lines and lines[-1].startswith("FITTING")):
                lines.append(process.stdout.readline())
                assert lines[-1], "".join(lines)
            resumed = [json.loads(line[8:]) for line in lines if line.startswith("RESUMED")]
            assert len(resumed) == (kept is not None)
            if kept is not None:
                check_resumed(resumed[0], kept)
            time.sleep(rng.uniform(0.0 if kept else 2.0, 3.0))
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
            process.stdout.close()
        cut_short += bool(list((tmp_path / "run").glob(".step-*")))
        kept = newest(tmp_path / "run") or kept
    print(f"{kills} kills, {cut_short} of them while a checkpoint was being written")


def newest(path):
    """The newest whole checkpoint, without cleaning up as a run does."""
    found = sorted(path.glob("step-*"))
    if not found:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        directory = CheckpointDirectory(path, 2)
        try:
            assert directory.newest() == found[-1]
        finally:
            directory.close()
    return found[-1]
