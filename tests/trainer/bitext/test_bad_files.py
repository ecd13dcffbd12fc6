"""Files of bitext as nobody should make them: every one is read, or refused by its name; memory stays bounded."""

import gzip
import io
import json
import re
import tracemalloc
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as some

from modeling_optical.files import lines, tables
from trainer.bitext import BitextReport, BitextSource, Cleaning, files
from trainer.bitext.loading import clean_pairs
from trainer.bitext.readers import read_pairs

ENDINGS = (".jsonl", ".tsv", ".csv", ".tmx", ".txt", ".zip", ".jsonl.gz", ".tmx.gz", ".tsv.gz")
PARTS = some.sampled_from(
    [b"en", b"sw", b"\t", b",", b'"', b"\n", b"\r", b"\0", b"\xff", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"{", b"}", b"[",
     b'{"en": ', b'"fox"', b'{"en": "fox", "sw": "mbweha"}\n', b'"\\ud83d"', b"<tmx>", b"<tu>", b'<tuv xml:lang="en"><seg>',
     b"</seg></tuv>", b"</tu>", b"</tmx>", b"<!DOCTYPE x>", b'<?xml version="1.0" encoding="x"?>', b"&#0;", b"PK\x03\x04",
     b"\x1f\x8b\x08"]
)  # fmt: skip
BYTES = some.one_of(some.binary(max_size=200), some.lists(PARTS, max_size=30).map(b"".join))


def pairs(path: Path, source: str | int = "en", target: str | int = "sw") -> list:
    return list(read_pairs(BitextSource(path=str(path), source=source, target=target, language="sw")))


def refused_or_read(path: Path) -> None:
    """Reads a file; what it raises must name it."""
    try:
        found = pairs(path)
    except ValueError as error:
        if path.name not in str(error):
            raise
        return
    for place, pair, problem in found:
        assert path.name in place
        assert (pair is None) != (problem is None)


@given(content=BYTES, ending=some.sampled_from(ENDINGS))
def test_any_bytes_are_read_or_refused_by_name(content, ending, folder):
    path = folder / f"x{ending}"
    path.write_bytes(gzip.compress(content, 1) if ending.endswith(".gz") else content)
    refused_or_read(path)


@given(place=some.floats(0, 1), byte=some.integers(0, 255), cut=some.booleans(), kind=some.sampled_from([".jsonl.gz", ".zip"]))
def test_a_damaged_or_cut_off_archive_is_read_or_refused_by_name(place, byte, cut, kind, folder):
    whole = io.BytesIO()
    text = "".join(f"{number} the cat\n" for number in range(200))
    if kind == ".zip":
        with zipfile.ZipFile(whole, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("x.en", text)
            archive.writestr("x.sw", text)
    else:
        whole.write(gzip.compress("".join(json.dumps({"en": t, "sw": t}) + "\n" for t in text.split("\n")).encode()))
    content = bytearray(whole.getvalue())
    at = min(int(place * len(content)), len(content) - 1)
    if cut:
        del content[at:]
    else:
        content[at] = byte
    path = folder / f"x{kind}"
    path.write_bytes(content)
    refused_or_read(path)


@pytest.mark.parametrize("method", [99, 9], ids=["unknown", "deflate64"])
def test_an_archive_packed_in_another_way_is_refused_by_name(tmp_path, method):
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.en", "fox\n")
        archive.writestr("x.sw", "mbweha\n")
    content = path.read_bytes()
    for signature, offset in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        for found in re.finditer(re.escape(signature), content):
            start = found.start() + offset
            content = content[:start] + method.to_bytes(2, "little") + content[start + 2 :]
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"x\.zip(:x\.en)? is packed in a way that is not read here"):
        pairs(path)


BOMBS = {
    "one line": ("x.jsonl.gz", b'{"en": "', b"a"),
    "one TSV line": ("x.tsv.gz", b"", b"a"),
    "an open quote": ("x.csv.gz", b'en,sw\n"', b"a\n"),
    "one segment": ("x.tmx.gz", b'<tmx><body><tu><tuv xml:lang="en"><seg>', b"a"),
    "no unit": ("x.tmx.gz", b"<tmx><header>", b"<note>a</note>"),
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_what_unpacks_to_more_than_memory_is_refused_where_it_begins(bomb, tmp_path, monkeypatch):
    for module in (lines, files, tables):
        monkeypatch.setattr(module, "MAX_LINE_BYTES", 100_000)
    name, head, filler = BOMBS[bomb]
    path = tmp_path / name
    with gzip.open(path, "wb", compresslevel=1) as stream:
        stream.write(head + filler * (10_000_000 // len(filler)))
    tracemalloc.start()
    with pytest.raises(ValueError, match=rf"{re.escape(name)}.*longer than 100000"):
        pairs(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2_000_000


def test_a_member_that_unpacks_to_one_endless_line_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(lines, "MAX_LINE_BYTES", 10_000)
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.en", "a" * 1_000_000)
        archive.writestr("x.sw", "a")
    with pytest.raises(ValueError, match=r"x\.zip:x\.en:1: the line is longer than 10000 bytes"):
        pairs(path)


LAUGHS = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))


@pytest.mark.parametrize(
    ("head", "problem"),
    [
        (f'<!DOCTYPE x [<!ENTITY l0 "ha">{LAUGHS}]>', "declares entities"),
        ('<!DOCTYPE x [<!ENTITY l9 SYSTEM "file:///etc/passwd">]>', "declares entities"),
        ('<!DOCTYPE x [<!ENTITY % l9 SYSTEM "http://127.0.0.1:9/x">%l9;]>', "declares entities"),
    ],
    ids=["billion laughs", "a file", "an address"],
)
def test_entities_are_never_expanded_nor_fetched(head, problem, tmp_path):
    path = tmp_path / "x.tmx"
    unit = '<tu><tuv xml:lang="en"><seg>&l9;</seg></tuv><tuv xml:lang="sw"><seg>a</seg></tuv></tu>'
    path.write_text(f"<?xml version='1.0'?>{head}<tmx><body>{unit}</body></tmx>")
    with pytest.raises(ValueError, match=rf"x\.tmx {problem}"):
        pairs(path)


def test_elements_without_end_are_refused(tmp_path):
    path = tmp_path / "x.tmx"
    path.write_text('<tmx><body><tu><tuv xml:lang="en"><seg>' + "<hi>" * 50_000)
    with pytest.raises(ValueError, match=r"x\.tmx: elements are nested more than 100 deep"):
        pairs(path)


def test_an_encoding_that_python_lacks_is_told(tmp_path):
    path = tmp_path / "x.tmx"
    path.write_text("<?xml version='1.0' encoding='klingon'?><tmx/>")
    with pytest.raises(ValueError, match=r"x\.tmx.*unknown encoding"):
        pairs(path)


@given(texts=some.lists(some.tuples(some.text(max_size=40), some.text(max_size=40)), min_size=1, max_size=8))
def test_any_text_passes_through_json_and_cleaning(texts, folder):
    path = folder / "x.jsonl"
    path.write_text("".join(json.dumps({"en": a, "sw": b}) + "\n" for a, b in texts))
    found = [pair for _, pair, _ in pairs(path)]
    assert [pair[:2] for pair in found] == [(" ".join(a.split()), " ".join(b.split())) for a, b in texts]
    report = BitextReport()
    sources = [BitextSource(path=str(path), source="en", target="sw")]
    try:
        rows = list(clean_pairs(sources, Cleaning(script_share=0), report))
    except ValueError as error:
        if "no usable pair" not in str(error):
            raise
    else:
        assert len(rows) == sum(report.kept.values())
        assert all(row["source"].encode() and row["target"].encode() for row in rows)
