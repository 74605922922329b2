"""KerasTuner, unmodified: `search("CartPole-v1")` for the best `val_episode_return`."""

import keras
import numpy as np
import pytest

import kerasrl
from kerasrl.callbacks import Collect

keras_tuner = pytest.importorskip(
    "keras_tuner", reason="KerasTuner is installed by .ci/external alone, see docs/constraints.txt"
)

TUNERS = {
    "RandomSearch": {"max_trials": 2},
    "GridSearch": {"max_trials": 2},
    "BayesianOptimization": {"max_trials": 2},
    "Hyperband": {"max_epochs": 2, "hyperband_iterations": 1},
}


def build(hp):
    agent = kerasrl.DQN(
        keras.Sequential(
            [
                keras.Input((4,)),
                keras.layers.Dense(hp.Choice("units", [4, 8])),
                keras.layers.Dense(2),
            ]
        )
    )
    agent.build("CartPole-v1")
    agent.compile(keras.optimizers.Adam(hp.Float("rate", 1e-4, 1e-2, sampling="log")))
    return agent


@pytest.mark.regression(14)
@pytest.mark.parametrize("name", TUNERS)
def test_a_tuner_searches_an_environment(tmp_path, name):
    tuner = getattr(keras_tuner, name)(
        build,
        objective=keras_tuner.Objective("val_episode_return", "max"),
        directory=tmp_path,
        project_name="trials",
        seed=0,
        **TUNERS[name],
    )
    length = {"steps_per_epoch": 4} if name == "Hyperband" else {"env_steps": 80}
    tuner.search(
        "CartPole-v1",
        validation_data="CartPole-v1",
        batch_size=8,
        callbacks=[Collect(warmup_steps=64)],
        verbose=0,
        **length,
    )
    best, hp = tuner.get_best_models()[0], tuner.get_best_hyperparameters()[0]
    assert best.q_network.layers[0].units == hp.get("units")
    actions = best.predict(np.zeros((3, 4), np.float32), verbose=0)
    assert actions.shape == (3,)
    trials = [trial for trial in tuner.oracle.trials.values() if trial.score is not None]
    assert len(trials) >= 2
    assert all(trial.score >= 8 for trial in trials)
