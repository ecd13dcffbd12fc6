"""What disks do to a run: full ones, read-only ones, flipped bits. Real file systems, where they may be mounted."""

import errno
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_workshop import SHORT, sentences, weights

from modeling_optical import OpticalModel
from modeling_optical.encoding.encoded_corpus import Encoder
from modeling_optical.indexes import ExactIndex, open_index
from recipes.cli import main
from recipes.runs.run_folder import claim_folder
from trainer import Teacher, TeacherCache


class Disk:
    """A small file system in memory."""

    def __init__(self, place: Path):
        self.place = place

    def resize(self, kilobytes: int) -> None:
        self._mount(f"remount,size={kilobytes}k")

    def make_read_only(self) -> None:
        self._mount("remount,ro")

    def _mount(self, options: str) -> None:
        subprocess.run(["mount", "-o", options, str(self.place)], check=True, capture_output=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    place = tmp_path / "disk"
    place.mkdir()
    mounting = ["mount", "-t", "tmpfs", "-o", "size=512m", "tmpfs", str(place)]
    if shutil.which("mount") is None or subprocess.run(mounting, capture_output=True).returncode:
        pytest.skip("a small file system cannot be mounted here (it takes root)")
    yield Disk(place)
    subprocess.run(["umount", "-l", str(place)], check=True)


def used_kilobytes(folder: Path) -> int:
    return sum(path.stat().st_blocks // 2 for path in folder.rglob("*"))


def flip_a_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-5] ^= 0x10
    path.write_bytes(content)


# A run, on a disk of so large a share of what it needs: in the start, the checkpoints, the student.
@pytest.mark.parametrize("share", [0.6, *(pytest.param(share, marks=pytest.mark.slow) for share in (0.2, 0.4, 0.8))])
def test_a_disk_that_fills_up_is_told_and_with_more_room_the_run_goes_on(workshop, disk, capsys, share):
    recipe = [str(workshop / "recipe.yaml"), *SHORT]
    assert main(["run", *recipe, f"output={workshop / 'roomy'}"]) == 0
    disk.resize(int(share * used_kilobytes(workshop / "roomy")))
    capsys.readouterr()
    assert main(["run", *recipe, f"output={disk.place / 'run'}"]) == 2
    error = capsys.readouterr().err
    assert "full" in error
    assert "start the same command again" in error
    assert str(disk.place / "run") in error
    assert "Traceback" not in error
    assert not (disk.place / "run/student").exists()
    disk.resize(512_000)
    assert main(["run", *recipe, f"output={disk.place / 'run'}"]) == 0
    assert torch.equal(weights(disk.place / "run/student"), weights(workshop / "roomy/student"))
    assert not list((disk.place / "run").glob(".*"))


def test_a_full_disk_costs_a_teacher_cache_nothing_that_it_had(bert, disk, monkeypatch):
    torch.manual_seed(0)
    teacher = Teacher(OpticalModel.from_backbone(bert, embedding_dim=8), max_length=24)
    texts = [row["en"] for row in sentences(80)]
    cache = TeacherCache(disk.place, teacher, shard_size=4)
    cache.build(texts[:8], show_progress_bar=False)
    # The space is asked for before it is used; here another program takes it in between.
    monkeypatch.setattr(
        "modeling_optical.encoding.vector_shards.shutil.disk_usage", lambda _: shutil._ntuple_diskusage(10**12, 0, 10**12)
    )
    disk.resize(used_kilobytes(disk.place) + 12)
    with pytest.raises(OSError, match=r"writing .* failed.*free space and run again"):
        cache.build(texts, show_progress_bar=False)
    kept = len(TeacherCache(disk.place, teacher))
    assert 8 <= kept < 80
    assert not list(disk.place.rglob(".tmp-*"))
    disk.resize(512_000)
    assert TeacherCache(disk.place, teacher).build(texts, show_progress_bar=False) == 80 - kept


@pytest.mark.parametrize("room", [8, 60, 100])
def test_a_full_disk_ends_an_export_with_a_sentence_and_leaves_nothing(bert, disk, tmp_path, capsys, room):
    marked = {"query_marker": "[Q]", "document_marker": "[D]"}
    OpticalModel.from_backbone(bert, embedding_dim=8, **marked).save_pretrained(tmp_path / "student")
    disk.resize(room)  # the weights, the tokenizer or a small file is what does not fit
    for name in ("sentence-transformers", "pylate", "stanford"):
        output = disk.place / name
        assert main(["export", str(tmp_path / "student"), "--format", name, "--output", str(output), "--nearest"]) == 2
        assert re.search(f"{output}.* (cannot be written|No space left)", capsys.readouterr().err)
        assert not list(disk.place.iterdir())


def unit_vectors(count: int) -> list[np.ndarray]:
    generator = np.random.default_rng(0)
    arrays = [generator.standard_normal((20, 16)).astype(np.float32) for _ in range(count)]
    return [array / np.linalg.norm(array, axis=1, keepdims=True) for array in arrays]


def test_a_full_disk_leaves_an_index_as_it_was(disk, monkeypatch):
    vectors = unit_vectors(400)
    index = ExactIndex(disk.place / "index", Encoder("tiny", dim=16))
    index.build([f"d{n}" for n in range(20)], vectors[:20])
    wanted = index.search(vectors[:2], k=3)
    monkeypatch.setattr("modeling_optical.encoding.vector_shards.require_space", lambda *_: None)
    disk.resize(used_kilobytes(disk.place) + 40)
    for change in (index.add, index.build):
        with pytest.raises(OSError, match=r"writing .* failed.*What was there is kept"):
            change([f"e{n}" for n in range(400)], vectors)
    again = open_index(disk.place / "index")
    assert len(again) == 20
    assert again.search(vectors[:2], k=3) == wanted
    assert len(list((disk.place / "index").glob("*segment*"))) == 1
    disk.resize(512_000)
    again.add([f"e{n}" for n in range(400)], vectors)
    assert len(open_index(disk.place / "index")) == 420


def test_read_only_folders_are_told_by_name(workshop, disk, bert, capsys):
    recipe = str(workshop / "recipe.yaml")
    disk.make_read_only()
    assert main(["run", recipe, *SHORT, f"output={disk.place / 'run'}"]) == 2
    error = capsys.readouterr().err
    assert f"the output folder {disk.place / 'run'} cannot be written: Read-only file system. Choose another folder." in error
    assert main(["run", recipe, *SHORT, f"teacher.cache={disk.place / 'cache'}"]) == 2
    error = capsys.readouterr().err
    assert f"the teacher cache folder {disk.place / 'cache'}" in error
    assert "Read-only file system" in error
    with pytest.raises(OSError) as caught:
        ExactIndex(disk.place / "index", Encoder("tiny", dim=16)).build(["a"], unit_vectors(1))
    assert caught.value.errno == errno.EROFS
    assert str(disk.place / "index") in str(caught.value)


@pytest.mark.parametrize("file", ["optimizer.pt", pytest.param("trainer_state.json", marks=pytest.mark.slow)])
def test_a_damaged_checkpoint_is_named_and_the_run_goes_on_from_the_one_before(workshop, caplog, file):
    arguments = ["run", str(workshop / "recipe.yaml"), *SHORT]
    assert main(arguments) == 0
    run = workshop / "run"
    wanted = weights(run / "student")
    shutil.rmtree(run / "student")
    last = run / "checkpoints/optical/checkpoint-4"
    content = bytearray((last / file).read_bytes())
    place = content.rindex(b"4") if file.endswith(".json") else -5
    content[place] ^= 1
    (last / file).write_bytes(content)
    assert main(arguments) == 0
    text = caplog.text.replace("\n", " ")
    assert f"{last} is damaged ({file} differs from what was written): set aside" in text
    assert (last.parent / "damaged-checkpoint-4").is_dir()
    assert torch.equal(weights(run / "student"), wanted)


def test_a_damaged_start_is_named_and_made_again(workshop, caplog):
    arguments = ["run", str(workshop / "recipe.yaml"), *SHORT]
    assert main(arguments) == 0
    run = workshop / "run"
    wanted = weights(run / "student")
    for folder in ("student", "checkpoints"):
        shutil.rmtree(run / folder)
    flip_a_byte(run / "start/model.safetensors")
    assert main(arguments) == 0
    assert "start is damaged (model.safetensors" in caplog.text.replace("\n", " ")
    assert torch.equal(weights(run / "student"), wanted)


def test_a_damaged_segment_of_an_index_is_named_and_refused(tmp_path):
    ExactIndex(tmp_path / "index", Encoder("tiny", dim=16)).build(["a", "b"], unit_vectors(2))
    (segment,) = (tmp_path / "index").glob("segment-*")
    flip_a_byte(segment)
    with pytest.raises(ValueError, match=rf"{segment.name} is damaged: it is not what was written\. Make the index again"):
        open_index(tmp_path / "index")
    assert len(open_index(tmp_path / "index", verify=False)) == 2


def test_what_a_killed_run_had_begun_to_write_is_swept_up(workshop):
    claim_folder(workshop / "run", "seed: 0\n", begun=False, overwrite=False, written=())
    left = workshop / "run/.student-abc12345"
    left.mkdir()
    (left / "model.safetensors").write_bytes(b"half")
    kept = workshop / "run/.notes"
    kept.write_text("mine")
    assert main(["run", str(workshop / "recipe.yaml"), *SHORT]) == 0
    assert not left.exists()
    assert kept.read_text() == "mine"
