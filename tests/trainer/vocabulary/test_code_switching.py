"""Code-switched pairs: a text, and the same text with some words translated."""

import pytest
from datasets import Dataset

from trainer.vocabulary.code_switching import CodeSwitchingOptions, add_switched_pairs

TABLE = {"sw": {"cat": "paka", "house": "nyumba"}}


def bitext(count=40):
    sources = [f"The cat left house {n}." for n in range(count)]
    rows = {"source": sources, "target": [f"Paka {n}" for n in range(count)], "language": ["sw"] * count}
    return Dataset.from_dict(rows | {"document": ["d"] * count, "kind": ["query"] * count})


def test_some_pairs_are_added_with_words_of_the_table_in_place_of_theirs():
    found, added = add_switched_pairs(bitext(), CodeSwitchingOptions(share=0.5, rate=1.0), TABLE)
    assert 10 <= added <= 30
    assert len(found) == 40 + added
    assert found[:40] == bitext()[:]
    for row in found.select(range(40, len(found))):
        number = row["source"].rpartition(" ")[2]
        assert row["target"] == f"The paka left nyumba {number}"
        assert (row["language"], row["document"], row["kind"]) == ("sw", "d", "query")


def test_the_rate_is_the_share_of_the_known_words():
    found, added = add_switched_pairs(bitext(400), CodeSwitchingOptions(share=1.0, rate=0.5), TABLE)
    words = sum(row["target"].count("paka") + row["target"].count("nyumba") for row in found.select(range(400, 400 + added)))
    assert 300 < words < 500


def test_the_same_seed_gives_the_same_pairs_and_another_one_others():
    options = CodeSwitchingOptions()
    assert add_switched_pairs(bitext(), options, TABLE)[0][:] == add_switched_pairs(bitext(), options, TABLE)[0][:]
    assert add_switched_pairs(bitext(), options, TABLE)[0][:] != add_switched_pairs(bitext(), options, TABLE, seed=1)[0][:]


def test_a_language_without_a_table_gets_nothing():
    assert add_switched_pairs(bitext(), CodeSwitchingOptions(share=1.0), {})[1] == 0


@pytest.mark.parametrize("values", [{"share": 0}, {"share": 1.5}, {"rate": -1}])
def test_a_share_that_is_none_is_refused(values):
    with pytest.raises(ValueError, match=rf"code_switching\.{next(iter(values))} is"):
        CodeSwitchingOptions(**values)
