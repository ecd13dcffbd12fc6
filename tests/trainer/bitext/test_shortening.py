"""Short pairs: clauses that translate each other, or nothing."""

import pytest
from datasets import Dataset

from trainer.bitext import ShorteningOptions, add_short_pairs, shorten

RAIN = ("When it rains, the road is closed.", "Mvua ikinyesha, barabara hufungwa.")


@pytest.mark.parametrize("seed", range(6))
def test_a_clause_goes_with_the_clause_at_its_place(seed: int):
    pairs = {("When it rains", "Mvua ikinyesha"), ("the road is closed", "barabara hufungwa")}
    assert shorten(*RAIN, seed=seed) in pairs


def test_every_clause_has_its_turn():
    assert len({shorten(*RAIN, seed=seed) for seed in range(20)}) == 2


@pytest.mark.parametrize(
    ("source", "target", "expected"),
    [
        ("The road is closed.", "Barabara imefungwa.", ("The road is closed", "Barabara imefungwa")),
        ("Search works. It fails in Somali!", "खोज काम करती है। सोमाली में नहीं!", None),
        ("the road is closed", "barabara imefungwa", None),
        ("When it rains, the road is closed.", "Barabara hufungwa mvua ikinyesha.", None),
        ("When it rains, the road is closed.", "Mvua ikinyesha; barabara hufungwa!", ("When it rains", "Mvua ikinyesha")),
        ("When it rains, the road is closed.", "Mvua ikinyesha: barabara hufungwa.", None),
        ("It costs 3,500.50 shillings today.", "Inagharimu shilingi 3,500.50 leo.", ("It costs 3,500.50 shillings today",
                                                                                      "Inagharimu shilingi 3,500.50 leo")),
        ("No, " + "a very long clause of many words " * 4, "Hapana, " + "kishazi kirefu sana chenye maneno " * 4, None),
        ("Yes, he said so to all of us here.", "Ndiyo, alisema hivyo kwetu sisi sote.",
         ("he said so to all of us here", "alisema hivyo kwetu sisi sote")),
    ],
    ids=["full stop", "danda", "no marks", "another order", "kinds of marks", "other marks", "numbers", "long", "short"],
)  # fmt: skip
def test_punctuation_decides(source: str, target: str, expected: tuple[str, str] | None):
    found = {shorten(source, target, seed=seed) for seed in range(12)}
    if expected is not None:
        assert expected in found
    elif "।" in target:
        assert found == {("Search works", "खोज काम करती है"), ("It fails in Somali", "सोमाली में नहीं")}
    else:
        assert found == {None}


def test_clauses_far_from_each_others_place_are_not_taken():
    source = "Yes it is, " + "because of the many things that happened here " * 3
    target = "Kwa sababu ya mambo mengi yaliyotokea hapa " * 3 + ", ndiyo ni hivyo"
    assert {shorten(source, target, seed=seed) for seed in range(6)} == {None}


def rows() -> Dataset:
    pairs = [(f"When it rains {i}, the road is closed.", f"Mvua ikinyesha {i}, barabara hufungwa.") for i in range(200)]
    columns = {"source": [p[0] for p in pairs], "target": [p[1] for p in pairs], "language": ["sw"] * 200}
    return Dataset.from_dict(columns | {"document": [f"d{i}" for i in range(200)]})


def test_short_pairs_are_added_behind_with_the_document_they_are_from_and_without_repeats():
    bitext, added = add_short_pairs(rows(), ShorteningOptions(share=1.0))
    assert len(bitext) == 200 + added
    assert bitext["source"][:200] == rows()["source"][:]
    pairs = list(zip(bitext["source"], bitext["target"], strict=True))
    assert len(set(pairs)) == len(pairs)
    assert pairs.count(("the road is closed", "barabara hufungwa")) == 1
    for row in bitext.select(range(200, len(bitext))):
        number = row["document"].removeprefix("d")
        assert row["source"] in (f"When it rains {number}", "the road is closed")


def test_the_share_is_of_the_pairs_and_the_choice_is_seeded():
    added = [add_short_pairs(rows(), ShorteningOptions(share=0.3), seed=seed)[0]["source"][200:] for seed in (0, 0, 1)]
    assert added[0] == added[1] != added[2]
    assert 20 < len(added[0]) < 80


@pytest.mark.parametrize("options", [{"share": 0.0}, {"share": 2.0}, {"min_words": 0}, {"min_words": 9}])
def test_options_out_of_range_are_refused(options: dict):
    with pytest.raises(ValueError, match="shortened"):
        ShorteningOptions(**options)
