"""What one stack has written is read by the other, from files that are kept."""

import numpy as np
import pytest
from travelling import EXPORTED, FILES, HERE, MAKERS, STACKS, made, observations

import kerasrl
from kerasrl import saving


@pytest.fixture(scope="module", params=STACKS)
def written(request):
    """A directory of files, and the actions that their policies take."""
    directory = FILES / request.param
    with np.load(directory / "expected.npz") as expected:
        return directory, dict(expected)


def check_actions(agent, expected):
    received = agent.predict(observations(agent), verbose=0)
    np.testing.assert_allclose(received, expected, atol=1e-5)


def test_there_are_files_of_both():
    assert HERE in STACKS
    assert {path.name for path in FILES.iterdir()} == set(STACKS)


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.table
def test_an_agent_is_loaded_and_goes_on(written, name):
    directory, expected = written
    agent = kerasrl.load(directory / f"{name}.keras")
    check_actions(agent, expected[name])
    assert int(agent.gradient_steps) > 0
    assert int(agent.optimizer.iterations) == int(made(name).optimizer.iterations) > 0
    env = "CartPole-v1" if agent.observation_space.shape == (4,) else "Pendulum-v1"
    before = int(agent.gradient_steps)
    agent.fit(env, steps_per_epoch=1, verbose=0)
    assert int(agent.gradient_steps) > before


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.table
def test_its_state_is_taken_over_by_another_one(written, name):
    directory, expected = written
    agent = made(name)
    saving.restore(agent, directory / f"{name}.keras")
    check_actions(agent, expected[name])


@pytest.mark.parametrize("name", EXPORTED)
@pytest.mark.table
def test_weights_are_loaded(written, name):
    directory, expected = written
    agent = made(name)
    agent.load_weights(directory / f"{name}.weights.h5")
    check_actions(agent, expected[name])


@pytest.mark.parametrize("form", ["saved_model", "tflite"])
@pytest.mark.parametrize("name", EXPORTED)
@pytest.mark.table
def test_a_policy_is_loaded(written, name, form):
    directory, expected = written
    policy = kerasrl.load_policy(directory / f"{name} {form}")
    x = observations(kerasrl.load(directory / f"{name}.keras"))
    np.testing.assert_allclose(policy.act(x), expected[name], atol=1e-5)
