"""Loading policies that were exported."""

import hashlib
import json
import shutil
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import tensorflow as tf

import kerasrl
from kerasrl import policies
from kerasrl.envs import EnvSpec
from kerasrl.errors import AgentStateError, ArgumentError, LoadError, MismatchError, SpaceError
from kerasrl.export import exported as exported_module
from kerasrl.testing import CountingEnv

spaces = gym.spaces
SPEC = EnvSpec(
    spaces.Dict(body=spaces.Box(-1, 1, (2,)), gear=spaces.Discrete(3)),
    spaces.Box(-np.inf, np.inf, (2,), np.float32),
)
BATCH = {"body": np.float32([[1, 2], [3, 4]]), "gear": np.int64([0, 2])}
ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module", params=["saved_model", "tflite"])
def exported(request, tmp_path_factory):
    """A directory with a policy whose action is ten times the body, and the gear."""
    weight = tf.Variable(10.0)

    def act(observation):
        gear = tf.cast(observation["gear"], tf.float32)[:, tf.newaxis]
        return weight * observation["body"] + gear

    info = {"agent": "Mine", "env_steps": 7, "gradient_steps": 3, "results": None}
    directory = tmp_path_factory.mktemp("exported") / "policy"
    policies.export_policy(directory, {"act": act}, SPEC, info, request.param)
    return directory


@pytest.fixture
def copy(exported, tmp_path):
    """A copy of it to spoil."""
    return Path(shutil.copytree(exported, tmp_path / "policy"))


def edit(directory, **changes):
    path = directory / "policy.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_it_acts(exported):
    policy = kerasrl.load_policy(exported)
    expected = np.float32([[10, 20], [32, 42]])
    np.testing.assert_allclose(policy.act(BATCH), expected, rtol=1e-6)
    np.testing.assert_allclose(policy([BATCH["body"], BATCH["gear"]]), expected, rtol=1e-6)
    assert isinstance(policy.act(BATCH), np.ndarray)
    assert policy.observation_space == SPEC.observation_space
    assert policy.action_space == SPEC.action_space
    assert policy.info["env_steps"] == 7


def test_lists_of_python_numbers_will_do(exported):
    policy = kerasrl.load_policy(str(exported))
    batch = {"body": [[0, 1], [2, 3]], "gear": [0, 2]}
    np.testing.assert_allclose(policy.act(batch), [[0, 10], [22, 32]], rtol=1e-6)


def test_casts_are_warned_of_once(exported):
    policy = kerasrl.load_policy(exported)
    with pytest.warns(UserWarning, match=r"\['body'\] comes as float64 .* says float32") as caught:
        for _ in range(3):
            policy.act({**BATCH, "body": np.zeros((2, 2))})
    assert len(caught) == 1


def test_an_environment_with_other_spaces(exported):
    with pytest.raises(SpaceError, match=r"this policy is for observations Dict.* received an env"):
        kerasrl.evaluate(CountingEnv(), kerasrl.load_policy(exported), episodes=1)


@pytest.mark.parametrize(
    ("observation", "match"),
    [
        ({**BATCH, "gear": 1}, r"observation\['gear'\] must have shape \(2,\)"),
        ({"body": BATCH["body"][0], "gear": 1}, "shape .*2, 2.* put one into a batch"),
        ({"body": np.zeros((0, 2)), "gear": []}, "a batch of at least one observation"),
        ({"body": 1.0, "gear": 1}, "a batch of at least one .* Put a single one into a batch"),
        ({"body": BATCH["body"]}, r"observation must be a dict with keys \['body', 'gear'\]"),
        ({**BATCH, "gear": [0.5, 1.5]}, r"observation\['gear'\] must be int64; received float64"),
        ([], "observation must be a dict with keys"),
        (None, "observation must be a dict with keys .* received None"),
    ],
    ids=["size", "single", "none", "scalar", "key", "dtype", "list", "None"],
)
def test_what_is_no_batch_of_observations_is_refused(exported, observation, match):
    with pytest.raises(ArgumentError, match=match):
        kerasrl.load_policy(exported).act(observation)


@pytest.mark.parametrize("times", [1, 99])
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.table
def test_a_policy_may_be_replaced_while_it_is_loaded(copy, monkeypatch, times, when):
    weights, made = iter(range(1, 1 + times)), exported_module._functions

    def export(number):
        def act(observation):
            return np.float32(number) * observation["body"]

        info = {"agent": "Mine", "env_steps": number, "gradient_steps": 0, "results": None}
        policies.export_policy(copy, {"act": act}, SPEC, info, "tflite")

    def functions(*arguments):
        if when == "after":
            found = made(*arguments)
        if (number := next(weights, None)) is not None:
            export(number)
        return found if when == "after" else made(*arguments)

    monkeypatch.setattr(exported_module, "_functions", functions)
    if times > 1:
        with pytest.raises(LoadError, match="replaced 10 times while it was loaded"):
            kerasrl.load_policy(copy)
    else:
        policy = kerasrl.load_policy(copy)
        assert policy.info["env_steps"] == 1
        np.testing.assert_allclose(policy.act(BATCH), BATCH["body"])


def test_a_policy_without_a_distribution_says_so(exported):
    with pytest.raises(AgentStateError, match="policy of a Mine has one action .* Use act"):
        kerasrl.load_policy(exported).sample(BATCH)


def test_a_directory_without_a_policy(tmp_path):
    for directory in (tmp_path / "missing", tmp_path):
        with pytest.raises(LoadError, match=r"there is no policy\.json, as a directory that was"):
            kerasrl.load_policy(directory)
    with pytest.raises(LoadError, match="cannot be read: File name too long"):
        kerasrl.load_policy(tmp_path / ("x" * 300))
    (tmp_path / "policy.json").mkdir()
    with pytest.raises(LoadError, match=r"there is no policy\.json"):
        kerasrl.load_policy(tmp_path)


def test_every_file_that_is_missing_cut_or_changed_is_noticed(exported, copy):
    names = [path.relative_to(exported) for path in exported.rglob("*") if path.is_file()]
    assert len(names) in (2, 5)
    for name in names:
        good = (copy / name).read_bytes()
        flipped = bytearray(good)
        flipped[len(good) // 2] ^= 1
        # A description that reads as one cannot tell that it has changed.
        for bad in [b""] if name.suffix == ".json" else [b"", good[:-1], bytes(flipped)]:
            (copy / name).write_bytes(bad)
            with pytest.raises(LoadError, match=f"{name.name}"):
                kerasrl.load_policy(copy)
        (copy / name).unlink()
        with pytest.raises(LoadError, match=f"{name.name}"):
            kerasrl.load_policy(copy)
        (copy / name).write_bytes(good)
    kerasrl.load_policy(copy)


def test_what_tensorflow_cannot_load_is_a_clean_error(copy):
    files = json.loads((copy / "policy.json").read_text())["files"]
    for name in files:
        (copy / name).write_bytes(b"garbage")
        files[name] = {"bytes": 7, "sha256": hashlib.sha256(b"garbage").hexdigest()}
    edit(copy, files=files)
    with pytest.raises(LoadError, match="cannot be loaded: "):
        kerasrl.load_policy(copy)


def test_spaces_that_are_not_the_policys(copy):
    other = EnvSpec(
        spaces.Dict(body=spaces.Box(-1, 1, (3,)), gear=spaces.Discrete(3)), SPEC.action_space
    )
    edit(copy, **other.get_config())
    with pytest.raises(LoadError, match="exported act does not fit the spaces in policy.json"):
        kerasrl.load_policy(copy)
    edit(copy, **EnvSpec(SPEC.observation_space, spaces.Discrete(2)).get_config())
    with pytest.raises(LoadError, match="exported act does not fit the spaces in policy.json"):
        kerasrl.load_policy(copy)


def test_functions_that_are_not_there(copy):
    edit(copy, signatures=["act", "sample"])
    with pytest.raises(LoadError, match="cannot be loaded"):
        kerasrl.load_policy(copy)


def test_a_newer_format_is_told_apart(copy):
    edit(copy, format_version=3, something="new")
    with pytest.raises(MismatchError, match=r"newer kerasrl, in format 3; .* Update kerasrl"):
        kerasrl.load_policy(copy)


@pytest.mark.fault(66)
def test_that_a_policy_is_a_program_is_said_where_it_is_loaded():
    page = (ROOT / "docs/export.md").read_text()
    for text in (page, kerasrl.load_policy.__doc__):
        assert "is a program" in " ".join(text.split())
