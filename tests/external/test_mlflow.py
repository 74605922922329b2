"""MLflow's autologging, unmodified."""

import keras
import pytest

import kerasrl
from kerasrl.callbacks import Collect, CollectRollouts

mlflow = pytest.importorskip(
    "mlflow", reason="MLflow is installed by .ci/external alone, see docs/constraints.txt"
)


@pytest.fixture
def autolog(tmp_path):
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/mlflow.db")
    mlflow.tensorflow.autolog(log_models=False)
    yield
    mlflow.tensorflow.autolog(disable=True)


@pytest.mark.regression(26)
@pytest.mark.parametrize(
    ("kind", "collect"),
    [(kerasrl.DQN, Collect(warmup_steps=64)), (kerasrl.PPO, CollectRollouts(length=32))],
)
def test_a_run_is_logged_and_does_not_wait(autolog, kind, collect):
    agent = kind()
    agent.compile(keras.optimizers.Adam(1e-3))
    with mlflow.start_run() as run:
        history = agent.fit(
            "CartPole-v1",
            epochs=2,
            steps_per_epoch=20,
            batch_size=16,
            callbacks=[collect],
            validation_data="CartPole-v1",
            verbose=0,
        )
    metrics = mlflow.get_run(run.info.run_id).data.metrics
    for name in ("loss", "episode_return", "val_episode_return", "env_steps"):
        assert metrics[name] == pytest.approx(history.history[name][-1]), name
