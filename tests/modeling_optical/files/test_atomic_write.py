"""Files and folders that appear whole or not at all."""

import os
import stat
from pathlib import Path

import pytest

from modeling_optical.files.atomic_write import replacing_folder, write_text


def names(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


@pytest.mark.parametrize("text", ["", "one\ntwo\n", "अंग्रेज़ी 🦊\n"])
def test_a_written_file_holds_exactly_its_text_and_nothing_lies_beside_it(tmp_path: Path, text: str):
    path = write_text(tmp_path / "a" / "b" / "report.txt", text)
    assert path.read_bytes() == text.encode("utf-8")
    assert names(path.parent) == ["report.txt"]


def test_a_written_file_is_readable_by_others(tmp_path: Path):
    assert stat.S_IMODE(write_text(tmp_path / "f", "x").stat().st_mode) == 0o644


def test_a_relative_name_is_written_in_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    write_text("results.json", "[]\n")
    assert (tmp_path / "results.json").read_text() == "[]\n"


def test_a_reader_that_has_the_old_file_open_keeps_the_whole_old_text(tmp_path: Path):
    path = write_text(tmp_path / "f", "old " * 1000)
    with open(path) as reader:
        assert reader.read(4) == "old "
        write_text(path, "new")
        assert reader.read() == "old " * 999
    assert path.read_text() == "new"


def test_a_text_that_cannot_be_written_leaves_the_old_file_and_no_scratch_file(tmp_path: Path):
    path = write_text(tmp_path / "f", "old")
    with pytest.raises(UnicodeEncodeError):
        write_text(path, "half of it \ud800")
    assert path.read_text() == "old"
    assert names(tmp_path) == ["f"]


def test_a_folder_in_the_place_of_the_file_is_an_os_error_and_stays(tmp_path: Path):
    (tmp_path / "f").mkdir()
    (tmp_path / "f" / "kept").write_text("x")
    with pytest.raises(OSError, match="f"):
        write_text(tmp_path / "f", "new")
    assert names(tmp_path) == ["f"]
    assert names(tmp_path / "f") == ["kept"]


def test_a_folder_appears_under_its_name_only_when_the_block_has_ended(tmp_path: Path):
    target = tmp_path / "deep" / "model"
    with replacing_folder(target) as scratch:
        (scratch / "weights").write_text("w")
        assert not target.exists()
    assert (target / "weights").read_text() == "w"
    assert names(target.parent) == ["model"]
    assert stat.S_IMODE(target.stat().st_mode) == 0o755


def test_a_new_folder_replaces_the_old_one_with_all_that_was_in_it(tmp_path: Path):
    target = tmp_path / "model"
    target.mkdir()
    (target / "stale").write_text("s")
    with replacing_folder(target) as scratch:
        assert names(scratch) == []
        (scratch / "fresh").write_text("f")
        assert names(target) == ["stale"]
    assert names(target) == ["fresh"]
    assert names(tmp_path) == ["model"]


@pytest.mark.parametrize("error", [RuntimeError("disk"), KeyboardInterrupt()], ids=["error", "interrupt"])
@pytest.mark.parametrize("existed", [True, False])
def test_a_block_that_fails_leaves_what_was_there_before(tmp_path: Path, error: BaseException, existed: bool):
    target = tmp_path / "model"
    if existed:
        target.mkdir()
        (target / "old").write_text("o")

    def fail() -> None:
        with replacing_folder(target) as scratch:
            (scratch / "half").write_text("h")
            raise error

    with pytest.raises(type(error)):
        fail()
    assert names(tmp_path) == (["model"] if existed else [])
    if existed:
        assert names(target) == ["old"]
