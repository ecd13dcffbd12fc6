"""Packed bitext: read as it is unpacked, and told by name when it is damaged."""

import gzip
import zipfile
from pathlib import Path

import pytest

from trainer.bitext import BitextFile, BitextSource, load_bitext

PAIRS = [("a red fox", "mbweha mwekundu"), ("a dog", "mbwa")]


def archive(folder: Path, members: dict[str, str]) -> Path:
    path = folder / "en-sw.txt.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return path


def opus(folder: Path, **changes: str) -> Path:
    members = {"README": "about", "Corpus.en-sw.xml": "<x/>", "LICENSE": "free"}
    for side, code in enumerate(("en", "sw")):
        members[f"Corpus.en-sw.{code}"] = "".join(f"{pair[side]}\n" for pair in PAIRS)
    return archive(folder, members | changes)


def load(path: Path | list[Path], **options):
    where = [str(p) for p in path] if isinstance(path, list) else str(path)
    bitext, _ = load_bitext([BitextSource(path=where, **{"source": "en", "target": "sw"} | options)])
    return list(zip(bitext["source"], bitext["target"], strict=True))


def test_the_pair_of_an_opus_archive_is_read_without_unpacking(tmp_path: Path):
    assert load(opus(tmp_path)) == PAIRS
    assert [p.name for p in tmp_path.iterdir()] == ["en-sw.txt.zip"]


def test_an_archive_without_the_pair_lists_its_members(tmp_path: Path):
    with pytest.raises(ValueError, match=r"end in \.en and \.so; it holds none \(members: README, .*Corpus\.en-sw\.sw"):
        load(opus(tmp_path), target="so")


def test_an_archive_with_two_pairs_is_refused(tmp_path: Path):
    with pytest.raises(ValueError, match=r"it holds 2 "):
        load(opus(tmp_path, **{"Other.en": "x\n", "Other.sw": "y\n"}))


def test_sides_of_different_length_are_told_with_their_members(tmp_path: Path):
    path = opus(tmp_path, **{"Corpus.en-sw.sw": "mbweha\n"})
    with pytest.raises(ValueError, match=r"zip:Corpus\.en-sw\.en has 2, .*zip:Corpus\.en-sw\.sw has 1"):
        load(path)


def test_what_is_no_archive_is_told_by_name(tmp_path: Path):
    (tmp_path / "x.zip").write_text("not a zip")
    with pytest.raises(ValueError, match=r"x\.zip is damaged or no zip archive"):
        load(tmp_path / "x.zip")


def test_a_damaged_member_is_told_by_name(tmp_path: Path):
    path = archive(tmp_path, {"x.en": "fox\n" * 5000, "x.sw": "mbweha\n" * 5000})
    content = bytearray(path.read_bytes())
    content[45:55] = b"\0" * 10
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"en-sw\.txt\.zip:x\.en is damaged or cut off"):
        load(path)


@pytest.mark.parametrize("form", ["jsonl", "tsv", "csv", "moses"])
def test_every_form_is_read_through_gzip(tmp_path: Path, form: str):
    def write(name: str, content: str) -> Path:
        (tmp_path / f"{name}.gz").write_bytes(gzip.compress(content.encode()))
        return tmp_path / f"{name}.gz"

    if form == "moses":
        path = [write(f"x.{code}", "".join(f"{pair[side]}\n" for pair in PAIRS)) for side, code in enumerate(("en", "sw"))]
    elif form == "jsonl":
        path = write("x.jsonl", "".join(f'{{"en": "{en}", "sw": "{sw}"}}\n' for en, sw in PAIRS))
    else:
        mark = "\t" if form == "tsv" else ","
        path = write(f"x.{form}", f"en{mark}sw\n" + "".join(f"{en}{mark}{sw}\n" for en, sw in PAIRS))
    assert load(path) == PAIRS


@pytest.mark.parametrize("content", [b"not gzip", gzip.compress(b"en\tsw\nfox\tmbweha\n" * 200)[:-12]], ids=["plain", "cut"])
def test_a_damaged_gzip_file_is_told_by_name(tmp_path: Path, content: bytes):
    (tmp_path / "x.tsv.gz").write_bytes(content)
    with pytest.raises(ValueError, match=r"x\.tsv\.gz is damaged or cut off.*Fetch it again"):
        load(tmp_path / "x.tsv.gz")


@pytest.mark.parametrize(("name", "ending"), [("x.TSV.gz", ".tsv"), ("a.b.jsonl", ".jsonl"), ("x.gz", ""), ("x.zip", ".zip")])
def test_the_ending_is_the_one_below_gzip(name: str, ending: str):
    assert BitextFile(name).ending == ending


def test_a_star_stands_for_all_files_that_match_in_the_order_of_their_names(tmp_path: Path):
    for folder, (en, sw) in zip(("b", "a"), PAIRS, strict=True):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "sw.jsonl").write_text(f'{{"en": "{en}", "sw": "{sw}"}}\n')
    (tmp_path / "a" / "so.jsonl").write_text('{"en": "fox", "sw": "dawaco"}\n')
    assert load(tmp_path / "*" / "sw.jsonl") == PAIRS[::-1]
    with pytest.raises(FileNotFoundError, match=r"no bitext file matches '.*/\*/mr\.jsonl'"):
        load(tmp_path / "*" / "mr.jsonl")
