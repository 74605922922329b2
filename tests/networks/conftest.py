import warnings

import keras
import pytest

from kerasrl.envs.spec import tensor_spec
from kerasrl.policies import PolicySnapshot


@pytest.fixture
def reloaded(tmp_path):
    """Saves a model as a `.keras` file and loads it."""

    def reload(model):
        model.save(tmp_path / "model.keras")
        return keras.models.load_model(tmp_path / "model.keras")

    return reload


@pytest.fixture
def lite():
    """Makes the snapshot of a policy, which must not fall back to TensorFlow."""

    def convert(policy, space, num_envs):
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)
            return PolicySnapshot(policy, tensor_spec(space), num_envs)

    return convert
