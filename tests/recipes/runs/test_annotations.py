"""CLDR annotations: a split by concept in which no held-out name is trained on."""

import json
import random
import re
from pathlib import Path

import pytest

from hub_cards.drawing.symbols import symbol
from recipes.checked_yaml import PACKAGE_FOLDER
from recipes.runs.annotations import Annotations, load_annotations
from recipes.runs.recipe.data import AnnotationsSource

SHIPPED = PACKAGE_FOLDER / "quickstart" / "cldr_annotations_48.2.jsonl"
LANGUAGES = ("sw", "so", "tl", "mr", "fi", "de", "fr")


def shipped(language: str = "sw", **options) -> Annotations:
    return load_annotations(AnnotationsSource(str(SHIPPED), **options), language)


def concept(number: int, **languages: dict) -> dict:
    return {"id": f"U+{0x1F600 + number:X}", **languages}


def annotation(name: str, *keywords: str) -> dict:
    return {"name": name, "keywords": list(keywords)}


def twenty() -> list[dict]:
    return [
        concept(i, en=annotation(f"thing{i}", f"thing{i}", "small"), sw=annotation(f"kitu {i}", "dogo", f"k{i}"))
        for i in range(20)
    ]


def written(folder: Path, concepts: list[dict]) -> str:
    path = folder / "notes.jsonl"
    path.write_text("".join(json.dumps(c, ensure_ascii=False) + "\n" for c in concepts), encoding="utf-8")
    return str(path)


def held_concepts(found: Annotations) -> set[str]:
    return {query.removeprefix("q-") for collection in found.collections for query in collection.queries}


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("validation", [False, True], ids=["test", "validation"])
def test_no_held_out_name_is_a_training_target_in_any_case_of_letters(language: str, validation: bool):
    found = shipped(language, validation=validation)
    held = {name.casefold() for collection in found.collections for name in collection.queries.values()}
    assert len(held) > 100
    assert not held & {target.casefold() for target in found.bitext["target"]}
    concepts = [c[language]["keywords"] for c in map(json.loads, SHIPPED.read_text("utf-8").splitlines()) if language in c]
    with_held_name = {", ".join(keywords) for keywords in concepts if held & {k.casefold() for k in keywords}}
    assert len(with_held_name) > 10
    assert not with_held_name & set(found.bitext["target"])


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_concept_is_both_held_out_and_trained_on(language: str):
    found = shipped(language)
    assert not held_concepts(found) & set(found.bitext["document"])
    assert len(held_concepts(found)) == pytest.approx(0.2 * found.report["concepts"], abs=1)


@pytest.mark.parametrize("seed", [0, 1])
def test_validation_concepts_are_neither_tested_on_nor_trained_on(seed: int):
    test, validation = shipped(seed=seed), shipped(seed=seed, validation=True)
    assert not held_concepts(validation) & held_concepts(test)
    assert not held_concepts(test) & set(validation.bitext["document"])
    assert not held_concepts(validation) & set(validation.bitext["document"])
    assert len(held_concepts(validation)) == pytest.approx(0.1 * test.report["concepts"], abs=2)
    assert set(validation.bitext["document"]) < set(test.bitext["document"])


def test_the_split_is_by_concept_and_so_the_same_for_every_language():
    french, somali = shipped("fr"), shipped("so")
    assert set(french.collections[0].corpus) == set(somali.collections[0].corpus)
    assert held_concepts(french) == held_concepts(somali)


def test_the_split_does_not_depend_on_the_order_of_the_file(tmp_path: Path):
    concepts = twenty()
    first = load_annotations(AnnotationsSource(written(tmp_path, concepts)), "sw")
    random.Random(1).shuffle(concepts)
    second = load_annotations(AnnotationsSource(written(tmp_path, concepts)), "sw")
    assert held_concepts(first) == held_concepts(second)
    assert sorted(first.bitext["target"]) == sorted(second.bitext["target"])


def test_the_seed_chooses_the_split():
    assert held_concepts(shipped(seed=0)) == held_concepts(shipped(seed=0)) != held_concepts(shipped(seed=1))


@pytest.mark.parametrize("language", LANGUAGES)
def test_queries_equal_to_their_english_name_are_a_collection_of_their_own(language: str):
    found = shipped(language)
    english = {c["id"].replace(" ", "_"): c["en"]["name"] for c in map(json.loads, SHIPPED.read_text("utf-8").splitlines())}
    for collection in found.collections:
        same = [text.casefold() == english[query[2:]].casefold() for query, text in collection.queries.items()]
        assert len(same) > 0
        assert set(same) == {collection.name == "emoji_same_name"}
    assert found.report["held-out names"] == len(found.collections[0].queries)
    assert found.report["held-out names equal to their English name"] == sum(len(c.queries) for c in found.collections[1:])


def test_every_query_has_its_own_concept_as_its_one_relevant_document_among_all():
    found = shipped()
    for collection in (*found.collections, found.ceiling):
        assert len(collection.corpus) == found.report["concepts"]
        assert collection.qrels == {query: {query.removeprefix("q-"): 1} for query in collection.queries}
        assert set(collection.corpus) >= {query.removeprefix("q-") for query in collection.queries}


def test_the_ceiling_asks_for_the_same_concepts_in_english():
    found = shipped()
    assert found.ceiling.language == "en"
    assert list(found.ceiling.queries) == list(found.collections[0].queries)
    assert all(found.ceiling.corpus[query[2:]].startswith(text) for query, text in found.ceiling.queries.items())


@pytest.mark.parametrize("language", LANGUAGES)
def test_ids_have_no_white_space_so_that_run_files_can_hold_them(language: str):
    found = shipped(language)
    assert not [i for i in found.collections[0].corpus if len(i.split()) != 1]


def test_names_and_keywords_are_pairs_and_descriptions_hold_both(tmp_path: Path):
    found = load_annotations(AnnotationsSource(written(tmp_path, twenty())), "sw")
    pairs = set(zip(found.bitext["source"], found.bitext["target"], strict=True))
    (example, *_) = found.bitext["document"]
    number = int(example.removeprefix("U+"), 16) - 0x1F600
    assert {(en, sw) for en, sw in pairs if str(number) in re.findall(r"\d+", sw)} == {
        (f"thing{number}", f"kitu {number}"),
        (f"thing{number}: small", f"kitu {number}"),
        (f"thing{number}, small", f"dogo, k{number}"),
    }
    assert found.collections[0].corpus[example] == f"thing{number}: small"
    assert set(found.bitext["language"]) == {"sw"}
    assert found.report == {
        "concepts": 20,
        "training concepts": 16,
        "held-out names": 4,
        "held-out names equal to their English name": 0,
        "training pairs": 48,
        "training pairs dropped (held-out name)": 0,
        "training pairs dropped (repeated)": 0,
    }


def test_a_training_concept_with_the_name_of_a_held_out_one_is_dropped_and_counted(tmp_path: Path):
    concepts = twenty()
    held = held_concepts(load_annotations(AnnotationsSource(written(tmp_path, concepts)), "sw"))
    twin = next(c for c in concepts if c["id"] in held)
    trained = next(c for c in concepts if c["id"] not in held)
    trained["sw"]["name"] = twin["sw"]["name"].upper()
    found = load_annotations(AnnotationsSource(written(tmp_path, concepts)), "sw")
    assert trained["sw"]["name"] not in found.bitext["target"][:]
    # The name alone and the name with the English description; its keywords are still trained on.
    assert found.report["training pairs dropped (held-out name)"] == 2
    assert found.report["training pairs"] == 46


def test_keywords_among_which_a_held_out_name_stands_are_dropped_and_counted(tmp_path: Path):
    concepts = twenty()
    held = held_concepts(load_annotations(AnnotationsSource(written(tmp_path, concepts)), "sw"))
    twin = next(c for c in concepts if c["id"] in held)
    trained = next(c for c in concepts if c["id"] not in held)
    trained["sw"]["keywords"].append(" " + twin["sw"]["name"].upper())
    found = load_annotations(AnnotationsSource(written(tmp_path, concepts)), "sw")
    assert found.report["training pairs dropped (held-out name)"] == 1
    assert found.report["training pairs"] == 47
    assert trained["sw"]["name"] in found.bitext["target"][:]


def test_white_space_and_composed_letters_are_made_uniform(tmp_path: Path):
    concepts = twenty()
    for c in concepts:
        c["sw"]["name"] = f"cafe\u0301  \u00a0{c['id']}"
    found = load_annotations(AnnotationsSource(written(tmp_path, concepts)), "sw")
    assert {text.split(" ")[0] for text in found.collections[0].queries.values()} == {"caf\u00e9"}


def test_concepts_without_the_language_are_left_out(tmp_path: Path):
    concepts = twenty()
    for c in concepts[:5]:
        del c["sw"]
    found = load_annotations(AnnotationsSource(written(tmp_path, concepts)), "sw")
    assert set(found.collections[0].corpus) == {c["id"] for c in concepts[5:]}


@pytest.mark.parametrize("language", ["xx", "SW", "id"])
def test_an_unknown_language_lists_the_languages_there_are(language: str):
    with pytest.raises(
        ValueError, match=rf"no annotations in '{language}'\. Languages there: de, en, fi, fr, mr, so, sw, tl\."
    ):
        shipped(language)


def test_a_missing_file_is_named(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match=r"annotations file '.*nowhere\.jsonl' does not exist"):
        load_annotations(AnnotationsSource(str(tmp_path / "nowhere.jsonl")), "sw")


@pytest.mark.parametrize("share", [0, 1, -0.2, 1.5, 0.001])
def test_a_share_that_leaves_one_part_empty_is_refused_with_its_key(tmp_path: Path, share: float):
    with pytest.raises(ValueError, match=rf"data\.annotations\.held_out is {share}"):
        load_annotations(AnnotationsSource(written(tmp_path, twenty()), held_out=share), "sw")


def test_too_few_concepts_to_validate_on_are_refused(tmp_path: Path):
    with pytest.raises(ValueError, match="validation"):
        load_annotations(AnnotationsSource(written(tmp_path, twenty()[:4]), held_out=0.25, validation=True), "sw")


@pytest.mark.parametrize(
    "line",
    [
        b"not json",
        b"[1]",
        b'"text"',
        b'{"id": "U+1", "en": {"keywords": []}, "sw": {"name": "x", "keywords": []}}',
        b'{"id": "U+1", "en": {"name": "x"}, "sw": {"name": "x", "keywords": []}}',
        b'{"en": {"name": "x", "keywords": []}, "sw": {"name": "x", "keywords": []}}',
        b'{"id": "U+1", "en": "x", "sw": {"name": "x", "keywords": []}}',
        b'{"id": 7, "en": {"name": "x", "keywords": []}, "sw": {"name": "x", "keywords": []}}',
        b'{"id": "U+1", "en": {"name": 3, "keywords": []}, "sw": {"name": "x", "keywords": []}}',
        b'{"id": "U+1", "en": {"name": "x", "keywords": null}, "sw": {"name": "x", "keywords": []}}',
        b'{"id": "U+1", "en": {"name": "x", "keywords": [3]}, "sw": {"name": "x", "keywords": []}}',
        b'{"id": "U+1", "en": {"name": "caf\xe9", "keywords": []}, "sw": {"name": "x", "keywords": []}}',
    ],
    ids=["words", "list", "text", "no name", "no keywords", "no id", "not a mapping", "id a number", "name a number",
         "keywords null", "keyword a number", "not UTF-8"],
)  # fmt: skip
def test_a_line_that_is_no_annotation_is_refused_with_file_and_line(tmp_path: Path, line: bytes):
    path = Path(written(tmp_path, twenty()))
    path.write_bytes(path.read_bytes() + line + b"\n")
    with pytest.raises(ValueError) as error:
        load_annotations(AnnotationsSource(str(path)), "sw")
    assert f"{path}:21: not " in str(error.value)


@pytest.mark.parametrize(
    ("identifier", "expected"),
    [("U+1F4EF", "📯"), ("U+1F1E6 U+1F1E8", "🇦🇨"), ("U+1F1E6_U+1F1E8", "🇦🇨"), ("doc-7", "doc-7"), ("U+110000", "U+110000")],
)
def test_an_id_gives_its_symbol_or_itself(identifier: str, expected: str):
    assert symbol(identifier) == expected


def test_names_made_by_one_template_are_held_out_together():
    found = shipped()
    english = {c["id"]: c["en"]["name"].casefold().split() for c in map(json.loads, SHIPPED.read_text("utf-8").splitlines())}
    held = held_concepts(found)
    trained = {words for concept, words in ((i, tuple(w)) for i, w in english.items()) if concept not in held}
    for concept in held:
        words = english[concept]
        for other in trained:
            differing = sum(a != b for a, b in zip(words, other, strict=False))
            assert len(words) < 2 or len(words) != len(other) or differing != 1, (words, other)


def test_names_that_are_all_alike_cannot_be_split(tmp_path):
    concepts = [concept(i, en=annotation(f"thing {i}"), sw=annotation(f"kitu {i}")) for i in range(20)]
    with pytest.raises(ValueError, match="no group of like names is small enough to hold out 4 concepts: the smallest has 20"):
        load_annotations(AnnotationsSource(written(tmp_path, concepts)), "sw")
