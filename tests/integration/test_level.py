"""Memory and open files stay level over many runs and over a long one.

In processes of their own, as a test's warnings are kept until the tests end.
"""

import json

import pytest

MEASURE = """
import gc, json, os, sys
import keras, kerasrl
from kerasrl.callbacks import Collect, CollectRollouts

def used():
    gc.collect()
    pages = int(open("/proc/self/statm").read().split()[1])
    return {
        "MiB": pages * os.sysconf("SC_PAGE_SIZE") / 2**20,
        "files": len(os.listdir("/proc/self/fd")),
        "threads": len(os.listdir("/proc/self/task")),
    }

def small_network():
    return keras.Sequential([keras.Input((4,)), keras.layers.Dense(8), keras.layers.Dense(2)])

measured = []
"""

MANY = """
on_policy, seed = ARGUMENTS
agent = kerasrl.A2C() if on_policy else kerasrl.DQN(small_network())
agent.compile()
for i in range(200):
    collect = CollectRollouts(8) if on_policy else Collect(1, 64)
    agent.fit(
        "CartPole-v1", steps_per_epoch=8, batch_size=8, seed=seed, callbacks=[collect],
        validation_data="CartPole-v1", verbose=0,
    )
    if i % 10 == 9:  # Python comes round to it by itself after some 25 MiB more.
        measured.append(used())
print(json.dumps(measured))
"""

LONG = """
class Measure(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        measured.append(used())

agent = kerasrl.DQN(small_network())
agent.compile(steps_per_execution=16)
agent.fit(
    "CartPole-v1", env_steps=200_000, epochs=20,
    replay=kerasrl.replay.Uniform(10_000),  # Full from the second epoch on.
    callbacks=[Collect(4), Measure()], validation_data="CartPole-v1", verbose=0,
)
print(json.dumps(measured))
"""


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    "arguments", ["(False, None)", "(False, 3)", "(True, None)"], ids=["dqn", "seeded", "a2c"]
)
def test_two_hundred_fits(run_python, arguments):
    output = run_python(MEASURE + MANY.replace("ARGUMENTS", arguments), timeout=850)
    measured = json.loads(output.splitlines()[-1])
    after_50, after_200 = measured[4], measured[-1]
    print(after_50, after_200)
    assert after_200["MiB"] < after_50["MiB"] + 10
    assert after_200["files"] <= after_50["files"] + 1
    assert after_200["threads"] <= after_50["threads"] + 1


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_two_hundred_thousand_environment_steps(run_python):
    measured = json.loads(run_python(MEASURE + LONG, timeout=850).splitlines()[-1])
    print(measured[::2])
    first, second = measured[3:10], measured[10:]
    assert max(m["MiB"] for m in second) < max(m["MiB"] for m in first) + 10
    assert max(m["files"] for m in second) <= max(m["files"] for m in first)
    assert max(m["threads"] for m in second) <= max(m["threads"] for m in first)
