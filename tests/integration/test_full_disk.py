"""A disk that fills while a checkpoint is written, at any of its files."""

import json

import pytest

SCRIPT = """
import json, os, resource, warnings
import keras, kerasrl
from kerasrl.callbacks import Checkpoint, Collect
from kerasrl.checkpoints.directory import CheckpointDirectory

directory = DIRECTORY
layers = [keras.Input((4,)), keras.layers.Dense(128), keras.layers.Dense(2)]
agent = kerasrl.DQN(keras.Sequential(layers))
agent.compile(steps_per_execution=4)

unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)

class Limit(keras.callbacks.Callback):
    # From the first epoch on, so that a run can be resumed.
    def __init__(self, limit):
        super().__init__()
        self.limit = limit

    def on_epoch_begin(self, epoch, logs=None):
        resource.setrlimit(resource.RLIMIT_FSIZE, (self.limit, unlimited[1]))

    def close(self):
        resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)

def fit(epochs, *callbacks):
    agent.fit("CartPole-v1", epochs=epochs, steps_per_epoch=8, seed=0, batch_size=8, verbose=0,
              callbacks=[Collect(2, 512), *callbacks, Checkpoint(directory)])

fit(1)
kept = sorted(os.listdir(directory))
newest = f"{directory}/step-000000000008"
sizes = {
    os.path.relpath(os.path.join(root, name), newest): os.path.getsize(os.path.join(root, name))
    for root, _, names in os.walk(newest) for name in names
}
print(json.dumps(sizes))
for limit in sorted({size - 1 for size in sizes.values() if size > 0}):
    try:
        fit(2, Limit(limit))
        outcome = "no error"
    except kerasrl.errors.SaveError as error:
        outcome = str(error)
    again = CheckpointDirectory(directory, 2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = again.newest()
    again.close()
    print(json.dumps({"limit": limit, "outcome": outcome, "newest": found.name,
                      "same": sorted(os.listdir(directory)) == kept}), flush=True)
fit(2)
names = sorted(os.listdir(directory))
print(json.dumps({"steps": int(agent.optimizer.iterations), "names": names}))
"""


@pytest.mark.thorough
@pytest.mark.fault(47)
def test_the_checkpoint_before_stays_whole(run_python, tmp_path):
    output = run_python(SCRIPT.replace("DIRECTORY", repr(str(tmp_path / "run"))))
    told = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
    sizes, *failures, after = told
    assert {"agent.keras", "state.json", "state.npz"} < set(sizes)
    assert any(name.startswith("replay/") for name in sizes)
    assert len(failures) > 4
    for failure in failures:
        assert "could not be written" in failure["outcome"], failure
        assert failure["newest"] == "step-000000000008"
        assert failure["same"], failure
    assert after["steps"] == 16
    assert after["names"] == [".lock", "step-000000000008", "step-000000000016"]
