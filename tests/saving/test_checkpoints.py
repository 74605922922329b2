import os
import subprocess
import sys
import warnings

import pytest

from kerasrl.checkpoints.directory import CheckpointDirectory
from kerasrl.errors import ArgumentError, LoadError, MismatchError, SaveError


@pytest.fixture
def directory(tmp_path):
    opened = CheckpointDirectory(tmp_path / "run", max_to_keep=2)
    yield opened
    opened.close()


def write(directory, step, content="content"):
    with directory.writing(step) as partial:
        (partial / "sub").mkdir()
        (partial / "sub" / "file").write_text(f"{content} {step}")
        (partial / "other").write_text("other")


def names(directory):
    return sorted(path.name for path in directory.path.iterdir() if path.name != ".lock")


def test_the_newest_is_found_and_old_ones_go(directory):
    assert directory.newest() is None
    for step in (5, 40, 300):
        write(directory, step)
    assert directory.newest().name == "step-000000000300"
    assert names(directory) == ["step-000000000040", "step-000000000300"]


@pytest.mark.fault(65)
def test_the_lock_leads_nowhere_else(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "precious").write_text("precious")
    (tmp_path / "run" / ".lock").symlink_to(tmp_path / "precious")
    with pytest.raises(SaveError, match="links"):
        CheckpointDirectory(tmp_path / "run", 2)
    assert (tmp_path / "precious").read_text() == "precious"


@pytest.mark.fault(48)
@pytest.mark.timeout(20)
def test_named_pipes_are_not_waited_for(directory, tmp_path):
    write(directory, 5)
    manifest = directory.checkpoint(5) / "manifest.json"
    manifest.unlink()
    os.mkfifo(manifest)
    with pytest.warns(UserWarning, match="not a file"), pytest.raises(LoadError, match="none of"):
        directory.newest()
    (tmp_path / "other").mkdir()
    os.mkfifo(tmp_path / "other" / ".lock")
    with pytest.raises(SaveError):
        CheckpointDirectory(tmp_path / "other", 2)


@pytest.mark.fault(48)
@pytest.mark.parametrize("text", ["[" * 10**5, "[]", '{"format": {}, "files": 3}', "\0"])
def test_a_manifest_may_say_anything(directory, text):
    write(directory, 5)
    (directory.checkpoint(5) / "manifest.json").write_text(text)
    with pytest.warns(UserWarning, match="not complete"), pytest.raises(LoadError, match="none of"):
        directory.newest()


def test_a_step_that_is_written_again_is_replaced(directory):
    write(directory, 5)
    write(directory, 5, "newer")
    assert (directory.newest() / "sub" / "file").read_text() == "newer 5"
    assert names(directory) == ["step-000000000005"]


def flip(path):
    content = bytearray(path.read_bytes())
    content[0] ^= 1
    path.write_bytes(content)


DAMAGES = {
    "a flipped bit": lambda path: flip(path / "sub" / "file"),
    "a truncated file": lambda path: (path / "sub" / "file").write_text("con"),
    "a missing file": lambda path: (path / "other").unlink(),
    "no manifest": lambda path: (path / "manifest.json").unlink(),
    "half a manifest": lambda path: (path / "manifest.json").write_text('{"format": 1, "fi'),
    "another manifest": lambda path: (path / "manifest.json").write_text("[]"),
}


@pytest.mark.fault(48)
@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_one_is_passed_over_with_a_warning(directory, damage):
    write(directory, 1)
    write(directory, 2)
    damage(directory.path / "step-000000000002")
    with pytest.warns(UserWarning, match="step-000000000002 is not complete"):
        assert directory.newest().name == "step-000000000001"


@pytest.mark.fault(48)
def test_none_that_is_whole_is_an_error(directory):
    write(directory, 1)
    flip(directory.path / "step-000000000001" / "other")
    with pytest.warns(UserWarning), pytest.raises(LoadError, match="none of the 1 checkpoints"):
        directory.newest()


def test_a_write_that_fails_leaves_those_before(directory):
    write(directory, 1)
    with pytest.raises(SaveError, match="step-000000000002"), directory.writing(2) as partial:
        (partial / "file").write_text("half")
        raise OSError("the disk is full")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert directory.newest().name == "step-000000000001"
    assert names(directory) == ["step-000000000001"]


def test_what_a_kill_has_left_behind_is_cleaned(directory):
    write(directory, 1)
    for name in (".step-000000000002.partial-123-4", ".step-000000000000.removed"):
        (directory.path / name).mkdir()
        (directory.path / name / "file").write_text("half")
    (directory.path / "notes.txt").write_text("the user's own")
    directory.close()
    again = CheckpointDirectory(directory.path, max_to_keep=2)
    assert names(again) == ["notes.txt", "step-000000000001"]


def test_a_newer_format_is_an_error(directory):
    write(directory, 1)
    manifest = directory.path / "step-000000000001" / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"format": 1', '"format": 99'))
    with pytest.raises(MismatchError, match="Update kerasrl"):
        directory.newest()


@pytest.mark.thorough
def test_two_processes_do_not_share_a_directory(directory):
    script = f"""
from kerasrl.checkpoints.directory import CheckpointDirectory
CheckpointDirectory({str(directory.path)!r}, 2)
"""
    with pytest.raises(ArgumentError, match="another run"):
        CheckpointDirectory(directory.path, 2)
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert "another run keeps its checkpoints in" in result.stderr
