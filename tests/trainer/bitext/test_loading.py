"""Bitext: every form it comes in, what is dropped and why, and a split that does not leak."""

import json
import random
from pathlib import Path

import pytest
from datasets import Dataset

from trainer.bitext import BitextReport, BitextSource, Cleaning, fingerprint, load_bitext, split_bitext

PAIRS = [("a red fox", "mbweha mwekundu"), ("a dog, asleep", "mbwa aliyelala"), ("two “cats”", "paka wawili")]


def jsonl(pairs: list[tuple[str, str]]) -> str:
    return "".join(json.dumps({"en": en, "sw": sw}, ensure_ascii=False) + "\n" for en, sw in pairs)


def load(path: Path | list[Path], **options):
    where = [str(p) for p in path] if isinstance(path, list) else str(path)
    return load_bitext([BitextSource(path=where, **{"source": "en", "target": "sw"} | options)])


def pairs_of(bitext: Dataset) -> list[tuple[str, str]]:
    return list(zip(bitext["source"], bitext["target"], strict=True))


def write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)
    return path


def same_pairs_in(form: str, folder: Path) -> BitextSource:
    """The pairs of PAIRS in one of the forms that are read."""
    nested = "".join(json.dumps({"id": 1, "translation": {"en": en, "sw": sw}}) + "\n" for en, sw in PAIRS)
    tsv = "".join(f"{en}\t{sw}\n" for en, sw in PAIRS)
    if form == "moses":
        en = write(folder, "x.en", "".join(f"{en}\n" for en, _ in PAIRS))
        sw = write(folder, "x.sw", "".join(f"{sw}\n" for _, sw in PAIRS))
        return BitextSource(path=[str(en), str(sw)], source="en", target="sw")
    if form == "hub":
        write(folder, "set/train.jsonl", jsonl(PAIRS))
        return BitextSource(hub=str(folder / "set"), source="en", target="sw")
    if form == "hub, nested":
        write(folder, "set/train.jsonl", nested)
        return BitextSource(hub=str(folder / "set"), source="translation.en", target="translation.sw", language="sw")
    name, content, options = {
        "jsonl": ("x.jsonl", jsonl(PAIRS), {}),
        "jsonl, blank lines": ("x.ndjson", "\n" + jsonl(PAIRS).replace("\n", "\n\n"), {}),
        "jsonl, Windows": ("x.json", "\ufeff" + jsonl(PAIRS).replace("\n", "\r\n"), {}),
        "jsonl, nested": ("x.jsonl", nested, {"source": "translation.en", "target": "translation.sw", "language": "sw"}),
        "tsv": ("x.tsv", f"en\tsw\n{tsv}", {}),
        "tsv, more columns": (
            "x.tsv", "id\tsw\tnote\ten\n" + "".join(f"1\t{sw}\tn\t{en}\n" for en, sw in PAIRS), {},
        ),
        "tsv, Windows": ("x.TSV", "\ufeff" + f"en\tsw\n{tsv}".replace("\n", "\r\n"), {}),
        "tsv, by number": ("x.tsv", tsv, {"source": 0, "target": 1, "language": "sw"}),
        "csv": ("x.csv", "en,sw\n" + "".join(f'"{en}","{sw}"\n' for en, sw in PAIRS), {}),
    }[form]  # fmt: skip
    return BitextSource(path=str(write(folder, name, content)), **{"source": "en", "target": "sw"} | options)


FORMS = (
    "jsonl", "jsonl, blank lines", "jsonl, Windows", "jsonl, nested", "tsv", "tsv, more columns", "tsv, Windows",
    "tsv, by number", "csv", "moses", "hub", "hub, nested",
)  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_the_same_pairs_are_read_from_every_form(tmp_path: Path, form: str):
    source = same_pairs_in(form, tmp_path)
    bitext, report = load_bitext([source])
    assert pairs_of(bitext) == PAIRS
    assert set(bitext["language"]) == {"sw"}
    assert set(bitext["origin"]) == {source.label}
    assert report.to_dict() == {
        "read": {source.label: 3},
        "kept": {source.label: 3},
        "dropped": {},
        "examples": {},
        "texts": {},
        "notes": [],
    }


def test_white_space_within_a_text_becomes_single_spaces(tmp_path: Path):
    bitext, _ = load(write(tmp_path, "x.jsonl", '{"en": " a\\u00a0 fox\\n", "sw": "\\tmbweha"}\n'))
    assert pairs_of(bitext) == [("a fox", "mbweha")]


def test_quotes_in_a_tsv_are_letters_and_in_a_csv_they_quote(tmp_path: Path):
    tsv, _ = load(write(tmp_path, "x.tsv", 'en\tsw\n"a" fox\t"mbweha\n'))
    assert pairs_of(tsv) == [('"a" fox', '"mbweha')]
    csv, _ = load(write(tmp_path, "x.csv", 'en,sw\n"a, ""b""","mbweha\nwawili"\n'))
    assert pairs_of(csv) == [('a, "b"', "mbweha wawili")]


def test_the_document_of_a_pair_is_kept_where_it_is_known(tmp_path: Path):
    bitext, _ = load(write(tmp_path, "x.jsonl", '{"en": "a", "sw": "b", "document": "n1"}\n{"en": "c", "sw": "d"}\n'))
    assert bitext["document"][:] == ["n1", ""]
    bitext, _ = load(write(tmp_path, "x.tsv", "en\tdocument\tsw\na\tn1\tb\nc\t\td\n"))
    assert bitext["document"][:] == ["n1", ""]


def test_several_sources_are_one_after_the_other_with_their_languages(tmp_path: Path):
    sources = [
        BitextSource(path=str(write(tmp_path, f"{code}.tsv", f"en\t{code}\nfox\tx{code}\n")), target=code)
        for code in ("sw", "so")
    ]
    bitext, report = load_bitext(sources)
    assert pairs_of(bitext) == [("fox", "xsw"), ("fox", "xso")]
    assert bitext["language"][:] == ["sw", "so"]
    assert report.to_dict()["kept"] == {source.label: 1 for source in sources}


def test_only_the_first_so_many_pairs_are_read_if_asked(tmp_path: Path):
    bitext, report = load(write(tmp_path, "x.jsonl", jsonl(PAIRS)), max_pairs=2)
    assert pairs_of(bitext) == PAIRS[:2]
    assert list(report.read.values()) == [2]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("not json", "not JSON"),
        ('{"en": "cut off', "not JSON"),
        ("[" * 100_000, "not JSON"),
        ('["a", "b"]', "not an object"),
        ('{"en": "fox"}', "no text in field 'sw'"),
        ('{"sw": "mbweha"}', "no text in field 'en'"),
        ('{"en": "fox", "sw": 3}', "no text in field 'sw'"),
        ('{"en": "fox", "sw": null}', "no text in field 'sw'"),
        ('{"en": "fox", "sw": " \\u00a0"}', "empty"),
        ('{"en": "same", "sw": " same "}', "identical"),
        (json.dumps({"en": "x" * 1001, "sw": "y" * 999}), "too long"),
        (json.dumps({"en": "fox", "sw": "y" * 53}), "length ratio"),
        (json.dumps(dict(zip(("en", "sw"), PAIRS[0], strict=True))), "repeated"),
    ],
    ids=["words", "cut off", "deep", "list", "no target", "no source", "number", "null", "empty", "identical", "long", "ratio",
         "repeated"],
)  # fmt: skip
def test_a_line_that_is_dropped_is_counted_by_its_reason_with_its_place(tmp_path: Path, line: str, reason: str):
    path = write(tmp_path, "x.jsonl", jsonl(PAIRS) + line + "\n")
    bitext, report = load_bitext([BitextSource(path=str(path), target="sw")], Cleaning(max_characters=1000))
    assert pairs_of(bitext) == PAIRS
    found = report.to_dict()
    shown = found.pop("texts")
    assert set(shown) <= {reason}
    assert all(len(texts) == 1 and len(text) <= 81 for texts in shown.values() for text in texts[0])
    assert found == {
        "read": {str(path): 4},
        "kept": {str(path): 3},
        "dropped": {str(path): {reason: 1}},
        "examples": {reason: [f"{path}:4"]},
        "notes": [],
    }


def test_texts_at_the_very_limits_are_kept(tmp_path: Path):
    pairs = [("fox", "y" * 52), ("x" * 1000, "y" * 1000)]
    source = BitextSource(path=str(write(tmp_path, "x.jsonl", jsonl(pairs))), target="sw")
    bitext, _ = load_bitext([source], Cleaning(max_characters=1000, max_length_ratio=4.0))
    assert pairs_of(bitext) == pairs


@pytest.mark.parametrize("form", ["jsonl", "tsv", "csv", "moses"])
def test_a_line_that_is_not_utf8_is_dropped_and_counted_with_its_place(tmp_path: Path, form: str):
    good, bad = PAIRS[0], b"caf\xe9 la leo"
    lines = {
        "jsonl": [*(jsonl([good]).splitlines()), '{"en": "today\'s coffee", "sw": "BAD"}'],
        "tsv": ["en\tsw", "\t".join(good), "today's coffee\tBAD"],
        "csv": ["en,sw", ",".join(good), "today's coffee,BAD"],
        "moses": [good[1], "BAD"],
    }[form]
    path = write(tmp_path, f"x.{form}", "".join(f"{line}\n" for line in lines).encode().replace(b"BAD", bad))
    if form == "moses":
        bitext, report = load([write(tmp_path, "x.en", f"{good[0]}\ntoday's coffee\n"), path])
        place = f"{tmp_path / 'x.en'}:2"
    else:
        bitext, report = load(path)
        place = f"{path}:{len(lines)}"
    assert pairs_of(bitext) == [good]
    assert report.examples == {"not UTF-8": [place]}


def test_half_a_surrogate_pair_in_json_is_dropped_and_counted_with_its_place(tmp_path: Path):
    path = write(tmp_path, "x.jsonl", jsonl(PAIRS) + '{"en": "fox", "sw": "mbweha \\ud83e"}\n')
    bitext, report = load(path)
    assert pairs_of(bitext) == PAIRS
    assert list(report.examples.values()) == [[f"{path}:4"]]


def test_a_number_of_thousands_of_digits_in_json_is_dropped_and_counted_with_its_place(tmp_path: Path):
    path = write(tmp_path, "x.jsonl", jsonl(PAIRS) + '{"en": "fox", "sw": "mbweha", "n": ' + "1" * 5000 + "}\n")
    bitext, report = load(path)
    assert pairs_of(bitext)[:3] == PAIRS
    assert all(places == [f"{path}:4"] for places in report.examples.values())


@pytest.mark.parametrize("name", ["x.tsv", "x.csv"])
def test_a_huge_cell_in_a_table_is_dropped_as_too_long(tmp_path: Path, name: str):
    mark = "\t" if name.endswith("tsv") else ","
    lines = [f"en{mark}sw", f"fox{mark}mbweha", f"{'x' * 140_000}{mark}{'y' * 140_000}"]
    path = write(tmp_path, name, "\n".join(lines) + "\n")
    bitext, report = load(path)
    assert pairs_of(bitext) == [("fox", "mbweha")]
    assert report.examples == {"too long": [f"{path}:3"]}


def test_a_row_with_too_few_columns_is_counted_with_its_place(tmp_path: Path):
    path = write(tmp_path, "x.tsv", "id\ten\tsw\n1\tfox\tmbweha\n2\tdog\n\n3\tcat\tpaka\n")
    bitext, report = load(path)
    assert pairs_of(bitext) == [("fox", "mbweha"), ("cat", "paka")]
    assert report.examples == {"fewer than 3 columns": [f"{path}:3"]}


def test_repeats_across_sources_are_dropped_but_a_second_translation_is_kept(tmp_path: Path):
    first = write(tmp_path, "a.jsonl", jsonl([PAIRS[0], PAIRS[1]]))
    second = write(tmp_path, "b.jsonl", jsonl([PAIRS[0], (PAIRS[0][0], "mbweha mwingine")]))
    bitext, report = load_bitext([BitextSource(path=str(p), target="sw") for p in (first, second)])
    assert pairs_of(bitext) == [PAIRS[0], PAIRS[1], (PAIRS[0][0], "mbweha mwingine")]
    assert report.to_dict()["dropped"] == {str(second): {"repeated": 1}}


def test_the_same_pair_in_two_languages_is_no_repeat(tmp_path: Path):
    path = str(write(tmp_path, "a.jsonl", jsonl(PAIRS)))
    bitext, _ = load_bitext([BitextSource(path=path, target="sw", language=code) for code in ("sw", "swc")])
    assert len(bitext) == 6


def test_the_report_counts_all_but_keeps_the_first_five_places(tmp_path: Path):
    path = write(tmp_path, "x.jsonl", jsonl(PAIRS) + "oops\n" * 1200)
    _, report = load(path)
    assert report.examples == {"not JSON": [f"{path}:{number}" for number in range(4, 9)]}
    first, second = str(report).splitlines()
    assert first == f"{path}: 1,203 pairs read, 3 kept (dropped: not JSON 1,200)"
    assert second.startswith(f"  not JSON, for instance: {path}:4; {path}:5")


def test_a_report_of_nothing_is_empty():
    assert str(BitextReport()) == ""


@pytest.mark.parametrize("which", [0, 1, "alone"])
def test_a_missing_file_is_named(tmp_path: Path, which: int | str):
    there = write(tmp_path, "x.en", "fox\n")
    missing = tmp_path / "missing.jsonl"
    path = missing if which == "alone" else [missing, there] if which == 0 else [there, missing]
    with pytest.raises(FileNotFoundError, match=r"bitext file '.*missing\.jsonl' does not exist"):
        load(path)


@pytest.mark.parametrize("name", ["x.jsonl", "x.tsv", "x.csv"])
@pytest.mark.parametrize("content", ["", "\n"], ids=["empty", "blank line"])
def test_an_empty_file_is_refused_by_its_name(tmp_path: Path, name: str, content: str):
    path = write(tmp_path, name, content)
    with pytest.raises(ValueError) as error:
        load(path)
    assert str(path) in str(error.value)
    assert "'en'" in str(error.value)


def test_two_empty_moses_files_are_refused_by_name(tmp_path: Path):
    with pytest.raises(ValueError, match=r"no usable pair in .*x\.en \+ .*x\.sw .*0 lines read"):
        load([write(tmp_path, "x.en", ""), write(tmp_path, "x.sw", "")])


def test_a_field_that_no_line_has_is_refused_with_field_file_and_places(tmp_path: Path):
    path = write(tmp_path, "x.jsonl", jsonl(PAIRS))
    with pytest.raises(ValueError, match=r"no usable pair in .*fields 'en' and 'swa'; 3 lines read") as error:
        load(path, target="swa")
    assert f"no text in field 'swa', for instance: {path}:1; {path}:2; {path}:3" in str(error.value)


@pytest.mark.parametrize("name", ["x.tsv", "x.csv"])
def test_a_column_that_the_header_lacks_is_refused_with_the_columns_there_are_and_the_remedy(tmp_path: Path, name: str):
    mark = "\t" if name.endswith("tsv") else ","
    path = write(tmp_path, name, f"english{mark}sw\nfox{mark}mbweha\n")
    with pytest.raises(ValueError, match=r"no column 'en' \(it has: english, sw\).*numbers from 0") as error:
        load(path)
    assert str(path) in str(error.value)


def test_column_numbers_beyond_the_table_are_refused_with_the_places(tmp_path: Path):
    path = write(tmp_path, "x.tsv", "fox\tmbweha\n")
    with pytest.raises(ValueError, match=r"fewer than 6 columns, for instance: .*x\.tsv:1"):
        load(path, source=0, target=5)


@pytest.mark.parametrize(("english", "swahili"), [(3, 2), (2, 3), (1, 0)])
def test_moses_files_of_different_length_are_refused_with_both_counts(tmp_path: Path, english: int, swahili: int):
    files = [write(tmp_path, "x.en", "fox\n" * english), write(tmp_path, "x.sw", "mbweha\n" * swahili)]
    with pytest.raises(ValueError, match=rf"x\.en has {english}, .*x\.sw has {swahili}"):
        load(files)


def test_a_moses_line_that_is_empty_on_one_side_is_counted_and_the_rest_stay_aligned(tmp_path: Path):
    files = [write(tmp_path, "x.en", "fox\ndog\ncat\n"), write(tmp_path, "x.sw", "mbweha\n\npaka")]
    bitext, report = load(files)
    assert pairs_of(bitext) == [("fox", "mbweha"), ("cat", "paka")]
    assert report.examples == {"empty": [f"{files[0]}:2"]}


@pytest.mark.parametrize("name", ["x.parquet", "x.gz", "x"])
def test_an_unknown_ending_is_refused_with_the_known_ones(tmp_path: Path, name: str):
    with pytest.raises(ValueError, match=r"known endings are \.jsonl, \.tsv and \.csv") as error:
        load(write(tmp_path, name, "fox\tmbweha\n"))
    assert str(tmp_path / name) in str(error.value)


def test_a_data_set_that_is_not_there_is_told_with_the_remedy(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match=r"nowhere', split 'train', could not be loaded.*give files with `path`"):
        load_bitext([BitextSource(hub=str(tmp_path / "nowhere"), target="sw")])


def test_a_split_that_a_data_set_lacks_is_told_by_name(tmp_path: Path):
    source = same_pairs_in("hub", tmp_path)
    source.split = "dev"
    with pytest.raises(FileNotFoundError, match=r"split 'dev', could not be loaded"):
        load_bitext([source])


def test_a_data_set_that_breaks_while_it_is_read_is_told_by_name(tmp_path: Path):
    write(tmp_path, "set/train.jsonl", jsonl(PAIRS) + "not json\n")
    with pytest.raises((OSError, ValueError)) as error:
        load_bitext([BitextSource(hub=str(tmp_path / "set"), target="sw")])
    assert str(tmp_path / "set") in str(error.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, r"either `path`.* or `hub`"),
        ({"path": "x.jsonl", "hub": "x/y"}, r"either `path`.* or `hub`"),
        ({"path": ["a"]}, r"lists 1 files; Moses bitext is two"),
        ({"path": ["a", "b", "c"]}, r"lists 3 files; Moses bitext is two"),
    ],
)
def test_a_source_that_makes_no_sense_is_refused_at_once(options: dict, message: str):
    with pytest.raises(ValueError, match=message):
        BitextSource(**options)


def test_no_source_at_all_is_refused():
    with pytest.raises(ValueError, match="no bitext source is given"):
        load_bitext([])


def made(documents: int, size: int, *, repeats: int = 0, seed: int = 0) -> Dataset:
    """Documents of `size` pairs; `repeats` pairs of other documents repeat a source or a target."""
    rows = [
        (f"source {d}.{i}", f"target {d}.{i}", f"doc{d}" if size > 1 else "") for d in range(documents) for i in range(size)
    ]
    generator = random.Random(seed)
    for number in range(repeats):
        source, target, _ = generator.choice(rows)
        document = f"doc{generator.randrange(documents)}" if size > 1 else ""
        rows.append((source, f"other {number}", document) if number % 2 else (f"other {number}", target, document))
    return table(rows)


def table(rows: list[tuple[str, str, str]]) -> Dataset:
    return Dataset.from_dict(
        {
            "source": [row[0] for row in rows],
            "target": [row[1] for row in rows],
            "language": ["sw"] * len(rows),
            "document": [row[2] for row in rows],
            "origin": ["x.jsonl"] * len(rows),
        }
    )


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("documents", "size"), [(40, 5), (200, 1)], ids=["documents", "sentences"])
def test_no_held_out_text_is_in_training(documents: int, size: int, seed: int):
    train, held = split_bitext(made(documents, size, repeats=80, seed=seed), held_out=0.2, seed=seed)
    assert len(held) > 0
    assert not set(train["source"]) & set(held["source"])
    assert not set(train["target"]) & set(held["target"])


@pytest.mark.parametrize("seed", range(5))
def test_a_document_is_never_split(seed: int):
    train, held = split_bitext(made(30, 7), held_out=0.25, seed=seed)
    assert not set(train["document"]) & set(held["document"])
    assert len(train) + len(held) == 210
    assert len(held) == pytest.approx(0.25 * 210, abs=7)


def test_a_document_with_the_number_zero_is_a_document_too(tmp_path: Path):
    lines = [json.dumps({"en": f"fox {d}.{i}", "sw": f"mbweha {d}.{i}", "document": d}) for d in range(2) for i in range(20)]
    bitext, _ = load(write(tmp_path, "x.jsonl", "\n".join(lines)))
    assert bitext["document"][:] == ["0"] * 20 + ["1"] * 20


def test_documents_of_the_same_name_in_two_files_are_two(tmp_path: Path):
    first, second = made(6, 5), made(6, 5)
    second = second.remove_columns(["source", "target", "origin"])
    second = second.add_column("source", [f"s {i}" for i in range(30)]).add_column("target", [f"t {i}" for i in range(30)])
    second = second.add_column("origin", ["y.jsonl"] * 30)
    both = Dataset.from_dict({name: [*first[name], *second[name]] for name in first.column_names})
    train, held = split_bitext(both, held_out=0.1)
    groups = {*zip(held["origin"], held["document"], strict=True)}
    assert len(held) == 5
    assert len(groups) == 1
    assert held["document"][0] in train["document"]


def test_pairs_with_the_same_source_stay_together():
    rows = [(f"source {i // 4}", f"target {i}", "") for i in range(200)]
    train, held = split_bitext(table(rows), held_out=0.1)
    assert len(held) == 20
    assert sorted(held["source"].count(text) for text in set(held["source"])) == [4] * 5
    assert len(train) == 180


@pytest.mark.parametrize("size", [1, 5])
def test_the_split_does_not_depend_on_the_order_of_the_pairs(size: int):
    bitext = made(200 // size, size, repeats=20)
    shuffled = bitext.shuffle(seed=3)
    parts, others = split_bitext(bitext, held_out=0.1), split_bitext(shuffled, held_out=0.1)
    assert pairs_of(bitext) != pairs_of(shuffled)
    for part, other in zip(parts, others, strict=True):
        assert sorted(pairs_of(part)) == sorted(pairs_of(other))


def test_the_seed_chooses_the_split():
    held = [set(split_bitext(made(200, 1), held_out=0.1, seed=seed)[1]["source"]) for seed in (0, 0, 1)]
    assert held[0] == held[1] != held[2]


@pytest.mark.parametrize(("share", "most", "expected"), [(0.1, 1000, 30), (0.5, 40, 40), (0.0, 1000, 0)])
def test_the_held_out_part_is_the_share_or_the_most(share: float, most: int, expected: int):
    train, held = split_bitext(made(300, 1), held_out=share, max_held_out=most)
    assert (len(train), len(held)) == (300 - expected, expected)


@pytest.mark.parametrize("share", [-0.1, 1, 1.5])
def test_a_share_outside_its_range_is_refused_with_its_value(share: float):
    with pytest.raises(ValueError, match=rf"held_out is {share}; it is a share"):
        split_bitext(made(10, 1), held_out=share)


def test_a_split_that_leaves_nothing_to_train_on_is_refused_with_the_remedy():
    rows = [(f"source {i}", "the one target", "") for i in range(10)]
    with pytest.raises(ValueError, match=r"nothing is left to train on: 10 pairs, 1 held out\. Lower data\.held_out"):
        split_bitext(table(rows), held_out=0.1)


def test_a_held_out_part_that_would_be_empty_is_refused():
    # Two documents of a hundred pairs each: neither fits into the ten pairs that are wanted.
    with pytest.raises(ValueError, match="held_out"):
        split_bitext(made(2, 100), held_out=0.05)


def test_the_fingerprint_changes_with_any_pair_its_language_and_the_order():
    bitext = made(5, 1)
    other = {
        "pair": table([*[(s, t, "") for s, t in pairs_of(bitext)][:4], ("source 4.0", "changed", "")]),
        "order": bitext.select([1, 0, 2, 3, 4]),
        "language": bitext.remove_columns("language").add_column("language", ["so"] * 5),
        "fewer": bitext.select(range(4)),
    }
    assert fingerprint(made(5, 1)) == fingerprint(bitext)
    assert len({fingerprint(bitext), *(fingerprint(changed) for changed in other.values())}) == 5
