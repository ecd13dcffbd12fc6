"""Training pairs that repeat a test collection are found, on either side, and nothing else is."""

import json
import random

import pytest

from trainer.bitext import BitextSource, Cleaning, NearDuplicateIndex, NearDuplicateOptions, load_bitext

QUERY = "The quick brown fox jumps over the lazy dog near the old river bank"
PASSAGE = "In 1905 he published four papers. The theory changed physics for ever and made him known. He was twenty-six."


@pytest.fixture
def index() -> NearDuplicateIndex:
    found = NearDuplicateIndex()
    found.add(QUERY, "query q1")
    found.add(PASSAGE, "document d1")
    found.add("red fox", "query q2")
    found.add("狐狸跳过了懒惰的狗", "query q3")
    return found


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (QUERY, "query q1"),
        (QUERY.upper() + "!!!", "query q1"),
        (QUERY.replace("old", "young"), "query q1"),
        (f"Yesterday somebody wrote this: {QUERY}, and many more words that nobody needs to read again", "query q1"),
        ("The theory changed physics for ever and made him known.", "document d1"),
        ("Red fox.", "query q2"),
        ("狐狸跳过了懒惰的狗。", "query q3"),
    ],
    ids=["equal", "case and marks", "a word changed", "within a longer text", "a sentence of a passage", "short", "no spaces"],
)
def test_a_repetition_is_found_with_the_test_text_that_it_repeats(index: NearDuplicateIndex, text: str, name: str):
    assert index.find(text) == name


@pytest.mark.parametrize(
    "text",
    [
        "",
        "?!",
        "A slow brown bear sleeps under the old bridge near the river in the north",
        "the red fox",
        "a red fox was seen",
        "changed physics for ever",
        "狐狸吃了一只鸡",
    ],
    ids=["empty", "no words", "other", "longer than a short query", "contains a short query", "a phrase", "other Chinese"],
)
def test_another_text_is_not(index: NearDuplicateIndex, text: str):
    assert index.find(text) is None


def test_the_decision_equals_a_plain_count_of_shared_sequences():
    generator = random.Random(0)
    words = [f"w{i}" for i in range(12)]

    def text() -> list[str]:
        return [generator.choice(words) for _ in range(generator.randint(3, 12))]

    def grams(tokens: list[str]) -> set[tuple[str, ...]]:
        return {tuple(tokens[i : i + 3]) for i in range(len(tokens) - 2)}

    tests = [text() for _ in range(60)]
    index = NearDuplicateIndex(NearDuplicateOptions(share=0.3))
    for number, tokens in enumerate(tests):
        index.add(" ".join(tokens), str(number))
    hits = 0
    for _ in range(400):
        tokens = text()
        alike = False
        for other in tests:
            one, two = grams(tokens), grams(other)
            sizes = (len(one), len(two))
            size = min(sizes) if min(len(tokens), len(other)) >= 8 else max(sizes)
            alike |= len(one & two) / size >= 0.3
        hits += alike
        assert (index.find(" ".join(tokens)) is not None) == alike
    assert 0 < hits < 400


@pytest.mark.parametrize("side", ["en", "sw"])
def test_a_pair_that_repeats_a_test_text_on_either_side_is_dropped_and_named(tmp_path, index: NearDuplicateIndex, side: str):
    path = tmp_path / "x.jsonl"
    leak = {"en": "some words", "sw": "maneno kadhaa"} | {side: QUERY}
    path.write_text("\n".join(map(json.dumps, [{"en": "a cat sat", "sw": "paka alikaa"}, leak])))
    cleaning = Cleaning(near_duplicates=index, max_length_ratio=20)
    bitext, report = load_bitext([BitextSource(path=str(path), target="sw")], cleaning)
    assert bitext["source"][:] == ["a cat sat"]
    assert report.examples == {"repeats a test text": [f"{path}:2 (like query q1)"]}


@pytest.mark.parametrize("options", [{"share": 0}, {"share": 1.1}, {"words": 0}])
def test_options_out_of_range_are_refused(options: dict):
    with pytest.raises(ValueError, match=rf"near_duplicates\.{next(iter(options))} is"):
        NearDuplicateOptions(**options)
