import os

import pytest

from kerasrl import system
from kerasrl.checkpoints.directory import CheckpointDirectory
from kerasrl.errors import ReplayError, SaveError
from kerasrl.saving import replacing_directory, replacing_file


def names(directory):
    return sorted(path.name for path in directory.iterdir())


def test_a_file_takes_the_place_of_the_one_before_when_it_is_whole(tmp_path):
    path = tmp_path / "model.weights.h5"
    path.write_text("old")
    with replacing_file(path) as partial:
        assert partial.name.endswith(".weights.h5")
        partial.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert names(tmp_path) == ["model.weights.h5"]


def test_a_file_that_fails_leaves_the_one_before(tmp_path):
    path = tmp_path / "model.keras"
    path.write_text("old")
    with pytest.raises(RuntimeError), replacing_file(path) as partial:
        partial.write_text("half")
        raise RuntimeError("boom")
    assert path.read_text() == "old"
    assert names(tmp_path) == ["model.keras"]


@pytest.mark.fault(47)
def test_an_error_says_where_and_how_much_room_there_is(tmp_path):
    (tmp_path / "file").write_text("")
    told = r"file/model\.keras could not be written.*MiB free"
    path = tmp_path / "file" / "model.keras"
    with pytest.raises(SaveError, match=told), replacing_file(path) as partial:
        partial.write_text("new")


@pytest.mark.parametrize(
    ("make", "name", "way_out"),
    [
        (lambda path: None, "none/a.keras", "does not exist; make it first"),
        (lambda path: (path / "a.keras").mkdir(), "a.keras", "is a directory; give the name of a"),
    ],
)
def test_an_error_says_what_to_do(tmp_path, make, name, way_out):
    make(tmp_path)
    with pytest.raises(SaveError, match=way_out), replacing_file(tmp_path / name) as partial:
        partial.write_text("new")


def test_a_file_is_in_the_place_of_a_directory(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SaveError, match="use another name"):
        CheckpointDirectory(tmp_path / "file", 1)


def test_what_kerasrl_raises_passes(tmp_path):
    with pytest.raises(ReplayError, match="gone"), replacing_file(tmp_path / "a.keras"):
        raise ReplayError("gone")


def test_a_directory_takes_the_place_of_the_one_before_when_it_is_whole(tmp_path):
    path = tmp_path / "policy"
    for content in ("old", "new"):
        with replacing_directory(path) as partial:
            (partial / "sub").mkdir()
            (partial / "sub" / "file").write_text(content)
        assert (path / "sub" / "file").read_text() == content
    assert names(tmp_path) == ["policy"]


def test_a_directory_that_fails_leaves_the_one_before(tmp_path):
    path = tmp_path / "policy"
    path.mkdir()
    (path / "file").write_text("old")
    with pytest.raises(SaveError, match="boom"), replacing_directory(path) as partial:
        (partial / "file").write_text("half")
        raise OSError("boom")
    assert (path / "file").read_text() == "old"
    assert names(tmp_path) == ["policy"]


def test_a_directory_is_replaced_where_names_cannot_be_swapped_at_once(tmp_path, monkeypatch):
    class Old:
        @staticmethod
        def renameat2(*arguments):
            return -1

    monkeypatch.setattr(system.ctypes, "CDLL", lambda *_, **__: Old())
    for content in ("old", "new"):
        with replacing_directory(tmp_path / "policy") as partial:
            (partial / "file").write_text(content)
    assert (tmp_path / "policy" / "file").read_text() == "new"
    assert names(tmp_path) == ["policy"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_directory_that_may_not_be_written_to(tmp_path):
    tmp_path.chmod(0o500)
    path = tmp_path / "model.keras"
    with pytest.raises(SaveError, match="Permission denied"), replacing_file(path) as partial:
        partial.write_text("new")
