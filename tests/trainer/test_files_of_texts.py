"""All readers of text files keep the same rules of encoding, line ends and quotes; whatever they cannot read they name."""

import bz2
import codecs
import csv
import gzip
import io
import json
import lzma
import re
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from modeling_optical.encoding.corpus import CorpusStream
from modeling_optical.evaluation.comparison import TextFile
from trainer.bitext import BitextSource
from trainer.bitext.readers import read_pairs
from trainer.labelled_data import LabelledSource, TextTable
from trainer.labelled_data.readers import read_rows
from trainer.labelled_data.text_tables import _file_rows
from trainer.text_files import stream_texts

Rows = list[tuple[str, str]]


@dataclass(frozen=True)
class Reader:
    """A way to write rows of two texts, and to read them."""

    name: str
    write: Callable[[Rows], str]
    read: Callable[[Path], Rows]
    tolerant: bool = False
    """Broken lines are counted and left out, and the rest is read."""


def tsv(*header: str) -> Callable[[Rows], str]:
    return lambda rows: "".join("\t".join(row) + "\n" for row in ([header] if header else []) + rows)


def comma_separated(*header: str) -> Callable[[Rows], str]:
    def write(rows: Rows) -> str:
        stream = io.StringIO()
        csv.writer(stream, lineterminator="\n", quoting=csv.QUOTE_ALL).writerows([header, *rows] if header else rows)
        return stream.getvalue()

    return write


def objects(first: str, second: str) -> Callable[[Rows], str]:
    # Not only ASCII: what is to be tested are the bytes of the texts.
    return lambda rows: "".join(json.dumps({first: a, second: b}, ensure_ascii=False) + "\n" for a, b in rows)


def numbered(second: str) -> Callable[[Rows], str]:
    return lambda rows: objects("_id", second)([(f"d{number}", f"{a} {b}") for number, (a, b) in enumerate(rows)])


def with_ids(rows: Rows) -> list[tuple[str, ...]]:
    return [(f"d{number}", *row) for number, row in enumerate(rows)]


def bitext(source: str | int = "en", target: str | int = "sw") -> Callable[[Path], Rows]:
    def read(path: Path) -> Rows:
        found = list(read_pairs(BitextSource(path=str(path), source=source, target=target, language="sw")))
        assert all(path.name in place for place, *_ in found)
        return [pair[:2] for _, pair, _ in found if pair is not None]

    return read


def moses(path: Path) -> Rows:
    beside = path.with_name("beside.txt")
    with gzip.open(path, "rb") if path.suffix == ".gz" else open(path, "rb") as stream:
        count = stream.read().count(b"\n")
    beside.write_text("beside\n" * count)
    found = read_pairs(BitextSource(path=[str(path), str(beside)], source="en", target="sw"))
    return [(pair[0], "") for _, pair, _ in found if pair is not None]


def labelled(path: Path) -> Rows:
    return [(row["query"], row["positive"]) for _, row in read_rows(LabelledSource(path=str(path)))]


def table(path: Path) -> Rows:
    return [(row["text"], row["title"]) for row in _file_rows(TextTable(path=str(path)), "")]


def joined(texts: Callable[[Path], list[str]]) -> Callable[[Path], Rows]:
    return lambda path: [(text, "") for text in texts(path)]


def one_a_line(rows: Rows) -> str:
    return "".join(f"{a} {b}\n" for a, b in rows)


READERS = {
    reader.name: reader
    for reader in [
        Reader("bitext.tsv", tsv(), bitext(0, 1), tolerant=True),
        Reader("named.tsv", tsv("en", "sw"), bitext(), tolerant=True),
        Reader("bitext.csv", comma_separated("en", "sw"), bitext(), tolerant=True),
        Reader("bitext.jsonl", objects("en", "sw"), bitext(), tolerant=True),
        Reader("moses.en", one_a_line, moses, tolerant=True),
        Reader("labelled.tsv", tsv(), labelled),
        Reader("labelled.csv", comma_separated("query", "positive"), labelled),
        Reader("labelled.jsonl", objects("query", "positive"), labelled),
        Reader("table.tsv", lambda rows: tsv()(with_ids(rows)), table),
        Reader("table.csv", lambda rows: comma_separated("id", "text", "title")(with_ids(rows)), table),
        Reader("table.jsonl", numbered("text"), table),
        Reader("texts.txt", one_a_line, joined(lambda path: list(stream_texts(path)))),
        Reader("texts.jsonl", numbered("text"), joined(lambda path: list(stream_texts(path)))),
        Reader("corpus.jsonl", numbered("text"), joined(lambda path: [text for _, text in CorpusStream(path)])),
        Reader("queries.jsonl", numbered("text"), joined(lambda path: [text for _, text in TextFile(path).items()])),
    ]
}  # fmt: skip
EVERY = pytest.mark.parametrize("reader", READERS.values(), ids=READERS)
FEW = settings(max_examples=settings().max_examples // 4)  # for each of the readers

# White space, quotes and marks that tear lines or cells where a reader is careless; a letter first, so no text is empty.
NASTY = some.sampled_from(
    [" ", "\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c", "\xa0", '"', '""', "'", ",", ";", "\\", "\\n", "&amp;", "#", "|",
     "[", "{", "\u200b", "\ufeff", "é", "e\u0301", "अंग्रेज़ी", "中", "🦊", "nan", "NULL", "0", "fox"]
)  # fmt: skip
TEXTS = some.lists(NASTY, max_size=6).map(lambda parts: "x" + "".join(parts) + "y")
ROWS = some.lists(some.tuples(TEXTS, TEXTS), min_size=1, max_size=4)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("texts")


def wanted(reader: Reader, rows: Rows) -> Rows:
    """What the reader gives of rows that are all right: both texts, or both in one."""
    return [(" ".join(" ".join(row).split()), "") for row in rows]


def found(reader: Reader, path: Path) -> Rows:
    return [(" ".join(" ".join(row).split()), "") for row in reader.read(path)]


@EVERY
@FEW
@given(rows=ROWS, end=some.sampled_from(["\n", "\r\n"]), mark=some.booleans(), last=some.booleans(), packed=some.booleans())
def test_texts_come_back_whatever_the_line_ends_the_mark_and_the_packing(reader, rows, end, mark, last, packed, folder):
    content = reader.write(rows).replace("\n", end)
    content = content if last or reader.name == "moses.en" else content.removesuffix(end)
    data = (codecs.BOM_UTF8 if mark else b"") + content.encode()
    path = folder / (reader.name + (".gz" if packed else ""))
    path.write_bytes(gzip.compress(data, 1) if packed else data)
    assert found(reader, path) == wanted(reader, rows)


@EVERY
@FEW
@given(rows=ROWS, at=some.integers(0, 10**6))
def test_a_lone_carriage_return_is_white_space(reader, rows, at, folder):
    content = reader.write(rows)
    spaces = [match.start() for match in re.finditer(" ", content)]
    path = folder / reader.name
    if spaces:
        place = spaces[at % len(spaces)]
        content = content[:place] + "\r" + content[place + 1 :]
    path.write_bytes(content.encode())
    assert found(reader, path) == wanted(reader, rows)


@EVERY
@FEW
@given(rows=ROWS, at=some.integers(0, 10**6))
def test_no_text_keeps_a_nul_byte_and_its_line_is_named(reader, rows, at, folder):
    content = reader.write(rows)
    at %= len(content)
    path = folder / reader.name
    path.write_bytes((content[:at] + "\0" + content[at:]).encode())
    if reader.tolerant:
        try:
            assert len(found(reader, path)) == len(rows) - 1
        except ValueError as error:  # the header line
            assert path.name in str(error)  # noqa: PT017
    else:
        with pytest.raises(ValueError, match=rf"{re.escape(reader.name)}:\d+: a NUL byte"):
            reader.read(path)


@EVERY
@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be", "utf-32", "utf-32-be"])
@FEW
@given(rows=ROWS)
def test_other_encodings_of_unicode_are_refused_by_name(reader, encoding, rows, folder):
    content = reader.write(rows)
    marked = content if encoding in ("utf-16", "utf-32") else "\ufeff" + content
    path = folder / reader.name
    path.write_bytes(marked.encode(encoding))
    with pytest.raises(ValueError, match=rf"{re.escape(reader.name)}:1: not UTF-8.* {encoding[:6].upper()}\b.*iconv"):
        reader.read(path)
    path.write_bytes(content.encode("utf-16-le"))  # without a mark
    try:
        assert not reader.read(path)
        assert reader.tolerant
    except ValueError as error:
        assert path.name in str(error)  # noqa: PT017


@EVERY
@pytest.mark.parametrize(("pack", "kind"), [(gzip.compress, "gzip"), (bz2.compress, "bzip2"), (lzma.compress, "xz")])
def test_packed_files_of_another_name_are_named_with_what_unpacks_them(reader, pack, kind, tmp_path):
    path = tmp_path / reader.name
    path.write_bytes(pack(reader.write([("a", "b")]).encode()))
    with pytest.raises(ValueError, match=rf"{re.escape(reader.name)}:1: the file is packed \({kind}\)\. .*nzip|unxz FILE"):
        reader.read(path)


@EVERY
@FEW
@given(rows=ROWS)
def test_line_ends_of_old_macs_are_refused(reader, rows, folder):
    path = folder / reader.name
    path.write_bytes(reader.write([*rows, ("x", "y")]).replace("\n", "\r").encode())
    if path.read_bytes().strip(b"\r").count(b"\r"):
        with pytest.raises(ValueError, match=rf"{re.escape(reader.name)}:1: the lines end in carriage returns alone"):
            reader.read(path)


@pytest.mark.parametrize("name", ["bitext.csv", "labelled.csv", "table.csv"])
@given(before=ROWS, rows=ROWS, after=ROWS, side=some.integers(0, 1))
def test_a_quote_that_never_closes_is_refused_where_it_opens(name, before, rows, after, side, folder):
    reader = READERS[name]
    head = reader.write(before)
    broken = [head, '"d",' if name == "table.csv" else "", '"x","' if side else '"', "x\n"]
    rest = reader.write(after).split("\n", 1)[1]
    path = folder / name
    path.write_text("".join(broken) + rest, newline="")
    with pytest.raises(ValueError, match=rf"{re.escape(name)}:{head.count(chr(10)) + 1}: a quote opens here"):
        reader.read(path)


@pytest.mark.parametrize("name", ["bitext.csv", "labelled.csv", "table.csv"])
@given(rows=some.lists(some.tuples(some.text(max_size=8), some.text(max_size=8)), min_size=1, max_size=4))
def test_quoted_cells_hold_line_ends_commas_and_quotes(name, rows, folder):
    reader = READERS[name]
    rows = [(f"a{first}", f"b{second}") for first, second in rows]
    content = reader.write(rows)
    if "\0" in content or any(0xD800 <= ord(character) < 0xE000 for character in content):
        return
    (folder / name).write_text(content, newline="")
    assert found(reader, folder / name) == wanted(reader, rows)


@pytest.mark.parametrize("name", [name for name in READERS if name.endswith(".jsonl")])
@pytest.mark.parametrize(
    ("content", "problem"),
    [('[\n{"a": 1}\n]', "a JSON list"), ('[{"a": 1}]', "a JSON list"), ('{\n"a": 1}', "over several lines")],
)
def test_json_that_is_not_an_object_a_line_is_told_what_it_is(name, content, problem, folder):
    path = folder / name
    path.write_text(content)
    with pytest.raises(ValueError, match=rf"{re.escape(name)}:1: not JSON Lines: .*{problem}.*jq"):
        READERS[name].read(path)


def test_rows_that_are_wider_than_a_header_line_are_not_read_as_pairs(tmp_path: Path):
    path = tmp_path / "x.tsv"
    path.write_text("en\tsw\nn1\tthe fox\tmbweha\nthe cat\tpaka\t\n")
    problems = [(pair, problem) for _, pair, problem in read_pairs(BitextSource(path=str(path), source="en", target="sw"))]
    assert problems == [(None, "more columns than the 2 of the header line"), (("the cat", "paka", ""), None)]


@pytest.mark.parametrize("name", ["x.tsv", "x.csv"])
def test_a_header_line_that_names_a_column_twice_is_refused(name, tmp_path: Path):
    comma = "\t" if name == "x.tsv" else ","
    (tmp_path / name).write_text(comma.join(["query", "positive", "positive"]) + "\n" + comma.join("abc") + "\n")
    for read in (labelled, bitext("query", "positive")):
        with pytest.raises(ValueError, match=rf"{name}:1: the header line names two columns 'positive'"):
            read(tmp_path / name)


def test_cells_at_the_end_of_a_first_line_may_be_empty(tmp_path: Path):
    path = tmp_path / "x.tsv"
    path.write_text("a boat\tit returned\t\nmango\tit grows\ta market\n")
    assert [row for _, row in read_rows(LabelledSource(path=str(path)))] == [
        {"query": "a boat", "positive": "it returned", "negative_1": ""},
        {"query": "mango", "positive": "it grows", "negative_1": "a market"},
    ]


@pytest.mark.parametrize("header", ["", "id\ttext\ttitle\n", "pid\tpassage\ttitle\n"])
def test_a_table_of_texts_may_have_titles_and_a_header_line(header, tmp_path: Path):
    path = tmp_path / "x.tsv"
    path.write_text(f"{header}0\tit returned\tNews\n1\tit grows\t\n2\tit flows\n")
    assert table(path) == [("it returned", "News"), ("it grows", ""), ("it flows", "")]
    path.write_text(f"{header}0\ta\tb\tc\n")
    with pytest.raises(ValueError, match=r"x\.tsv:\d: 4 columns"):
        table(path)


@pytest.mark.parametrize("odd", ["[v2]", "a?b", "{x}", "#1", "a b", "é", "!x"])
def test_a_path_may_have_characters_that_patterns_use(odd, tmp_path: Path):
    folder = tmp_path / odd
    folder.mkdir()
    (folder / "x-1.tsv").write_text("the fox\tmbweha\n")
    for name in ("x-1.tsv", "x-*.tsv"):
        source = BitextSource(path=f"{folder}/{name}", source=0, target=1)
        assert [pair for _, pair, _ in read_pairs(source)] == [("the fox", "mbweha", "")]


def test_an_archive_packed_on_a_mac_is_read(tmp_path: Path):
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("C.en-sw.en", "C.en-sw.sw"):
            archive.writestr(name, f"{name}\n")
            archive.writestr(f"__MACOSX/._{name}", b"\0\5\x16\7")
        archive.writestr(".DS_Store", b"\0")
    assert bitext()(path) == [("C.en-sw.en", "C.en-sw.sw")]
