"""Weights & Biases' callbacks for Keras, offline."""

import pytest

import kerasrl
from kerasrl.callbacks import Collect

wandb = pytest.importorskip(
    "wandb", reason="W&B is installed by .ci/external alone, see docs/constraints.txt"
)


@pytest.mark.regression(14)
def test_metrics_and_checkpoints(tmp_path, monkeypatch):
    from wandb.integration.keras import WandbMetricsLogger, WandbModelCheckpoint

    monkeypatch.chdir(tmp_path)
    agent = kerasrl.DQN()
    agent.compile()
    with wandb.init(mode="offline", project="kerasrl", dir=str(tmp_path)) as run:
        agent.fit(
            "CartPole-v1",
            epochs=2,
            steps_per_epoch=5,
            batch_size=16,
            callbacks=[
                Collect(warmup_steps=64),
                WandbMetricsLogger(),
                WandbModelCheckpoint("best.keras"),
                WandbModelCheckpoint("weights", save_weights_only=True),
            ],
            validation_data="CartPole-v1",
            verbose=0,
        )
        summary = dict(run.summary)
    assert summary["epoch/val_episode_return"] >= 8
    assert kerasrl.load(tmp_path / "best.keras").built
    agent.load_weights("weights")
