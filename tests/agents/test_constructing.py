"""What constructors were given comes back in the config, whoever writes the constructor."""

import copy

import keras
import pytest

import kerasrl
from kerasrl.errors import SaveError


@keras.saving.register_keras_serializable("tests")
class Handing(kerasrl.DQN):
    def __init__(self, mine, hidden=(64, 32), **kwargs):
        super().__init__(double=True, **kwargs)
        self.mine, self.hidden = mine, hidden


class Adding(kerasrl.Agent):
    def __init__(self, mine=3):
        super().__init__(discount=0.5)
        self.mine = mine

    def get_config(self):
        config = super().get_config()
        del config["n_step"]
        return {"mine": self.mine, **config}


class Unnamed(kerasrl.DQN):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)


def test_arguments_that_are_handed_on_are_saved_and_those_that_are_set_are_not(tmp_path):
    agent = Handing(5, discount=0.7, name="me")
    config = agent.get_config()
    assert (config["mine"], config["hidden"], config["discount"]) == (5, (64, 32), 0.7)
    assert "double" not in config
    agent.build("CartPole-v1")
    agent.compile()
    agent.save(tmp_path / "agent.keras")
    loaded = kerasrl.load(tmp_path / "agent.keras", {"Handing": Handing})
    for other in (loaded, copy.deepcopy(agent), Handing.from_config(config)):
        assert (other.mine, list(other.hidden), other.double) == (5, [64, 32], True)
        assert (other.discount, other.name) == (0.7, "me")


def test_a_get_config_that_adds_to_its_parents_has_the_parents_arguments():
    expected = {"mine": 3, "discount": 0.5, "reward_scale": 1.0, "name": "mine"}
    agent = Adding()
    assert agent.get_config() == expected | {"name": agent.name}


def test_arguments_without_a_name_are_refused():
    assert Unnamed(name="n").get_config()["name"] == "n"
    with pytest.raises(SaveError, match=r"Unnamed cannot be saved: .* takes \*args"):
        Unnamed(keras.Sequential()).get_config()
