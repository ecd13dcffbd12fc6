"""Files and folders that appear whole or not at all."""

import contextlib
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from modeling_optical import OpticalModel, OpticalRetriever
from modeling_optical.checkpoints import export_checkpoint
from modeling_optical.encoding.encoded_corpus import encode_corpus
from modeling_optical.files import atomic_write
from modeling_optical.files.atomic_write import replacing_folder, save_tensors, sweep_scratch, write_text


def names(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


@pytest.mark.parametrize("text", ["", "one\ntwo\n", "अंग्रेज़ी 🦊\n"])
def test_a_written_file_holds_exactly_its_text_and_nothing_lies_beside_it(tmp_path: Path, text: str):
    path = write_text(tmp_path / "a" / "b" / "report.txt", text)
    assert path.read_bytes() == text.encode("utf-8")
    assert names(path.parent) == ["report.txt"]


@pytest.fixture(params=[0o022, 0o002, 0o027, 0o077], ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def modes(folder: Path) -> dict[str, int]:
    return {str(path.relative_to(folder)): stat.S_IMODE(path.stat().st_mode) for path in [folder, *folder.rglob("*")]}


def test_whatever_is_written_can_be_read_by_whom_the_umask_lets_read(tmp_path: Path, umask: int, backbones: dict[str, str]):
    write_text(tmp_path / "made" / "text", "x")
    save_tensors(tmp_path / "made" / "tensors.safetensors", {"a": torch.zeros(2)})
    model = OpticalModel.from_backbone(backbones["bert"], embedding_dim=8)
    model.save_pretrained(tmp_path / "made" / "model")
    model.save_pretrained(tmp_path / "made" / "shards", max_shard_size="20KB")
    for name in ("sentence-transformers", "pylate"):
        export_checkpoint(model, tmp_path / "made" / name, name)
    retriever = OpticalRetriever(model)
    for engine in ("exact", "two-stage"):
        retriever.index({"a": "the cat sat", "b": "the dog"}, tmp_path / "made" / engine, engine=engine)
    encode_corpus(model, {"a": "the cat"}, tmp_path / "made" / "encoded")
    found = modes(tmp_path / "made")
    assert len(found) > 40
    for name, mode in found.items():
        if not name.endswith(".py"):  # code is copied with the mode that it is installed with
            assert oct(mode & 0o444) == oct(0o444 & ~umask), name


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


_KILLED = """
import ctypes, os, signal, sys, threading, time
from modeling_optical.files import atomic_write
from modeling_optical.files import atomic_write
from modeling_optical.files.atomic_write import replacing_folder, sweep_scratch, write_text
target, exchange, delay = sys.argv[1], sys.argv[2] == "exchange", float(sys.argv[3])
if not exchange:
    atomic_write._exchanging_call = lambda: None
threading.Thread(target=lambda: (time.sleep(delay), os.kill(os.getpid(), signal.SIGKILL)), daemon=True).start()
number = 0
while True:
    number += 1
    with replacing_folder(target) as scratch:
        for part in range(3):
            (scratch / f"part-{part}").write_text(str(number))
"""


@pytest.mark.parametrize("way", ["exchange", "two renames"])
def test_a_kill_at_any_moment_leaves_one_whole_folder(tmp_path: Path, way: str):
    target = tmp_path / "model"
    target.mkdir()
    for part in range(3):
        (target / f"part-{part}").write_text("0")
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[3])}
    for delay in (0.05, 0.09, 0.13):
        subprocess.run([sys.executable, "-c", _KILLED, str(target), way, str(delay)], env=environment, check=False)
        assert target.is_dir() or way == "two renames"
        sweep_scratch(target)
        assert names(tmp_path) == ["model"]
        assert len({(target / f"part-{part}").read_text() for part in range(3)}) == 1


class Killed(BaseException):
    pass


@pytest.mark.parametrize("step", range(8))
@pytest.mark.parametrize("exchange", [True, False])
@pytest.mark.parametrize("kind", ["error", "kill"])
def test_every_step_that_fails_leaves_one_whole_folder(tmp_path: Path, monkeypatch, step: int, exchange: bool, kind: str):
    target = tmp_path / "model [v2]"
    target.mkdir()
    (target / "old").write_text("o")
    other = tmp_path / ".model [v2]-other-12345678"  # the scratch of another folder
    other.mkdir()
    if not exchange:
        monkeypatch.setattr(atomic_write, "_exchanging_call", lambda: None)
    count = [0]

    def at_step(call):
        def wrapped(*arguments, **keywords):
            count[0] += 1
            # A killed process makes no step any more; an error is one failing step.
            if count[0] - 1 == step or (kind == "kill" and count[0] - 1 > step):
                raise Killed if kind == "kill" else OSError("no")
            return call(*arguments, **keywords)

        return wrapped

    with monkeypatch.context() as patch:
        for module, name in ((os, "rename"), (shutil, "rmtree"), (os, "chmod"), (atomic_write, "_exchange")):
            patch.setattr(module, name, at_step(getattr(module, name)))
        with contextlib.suppress(OSError, Killed), replacing_folder(target) as scratch:
            (scratch / "new").write_text("n")
    if kind == "error":
        assert target.is_dir()
    sweep_scratch(target)
    assert names(target) in (["old"], ["new"])
    assert names(tmp_path) == sorted([other.name, target.name])


def test_a_file_under_the_name_stays_and_a_link_stays_a_link(tmp_path: Path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(NotADirectoryError, match="file"), replacing_folder(tmp_path / "file"):
        pass
    assert (tmp_path / "file").read_text() == "mine"
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / "old").write_text("o")
    (tmp_path / "link").symlink_to(tmp_path / "disk")
    with replacing_folder(tmp_path / "link") as scratch:
        (scratch / "new").write_text("n")
    assert (tmp_path / "link").is_symlink()
    assert names(tmp_path / "disk") == ["new"]
    assert names(tmp_path) == ["disk", "file", "link"]
