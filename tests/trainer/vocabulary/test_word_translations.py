"""A dictionary learnt from bitext."""

import random

from trainer.vocabulary import word_translation_table, word_translations

PAIRS = {"mto": "river", "jiwe": "stone", "ndege": "bird", "asubuhi": "morning", "mkate": "bread", "farasi": "horse"}


def bitext(count: int = 200) -> tuple[list[str], list[str]]:
    generator = random.Random(0)
    chosen = [generator.sample(sorted(PAIRS), 3) for _ in range(count)]
    return [" ".join(["ya", *words]) + "." for words in chosen], [
        f"The {' '.join(PAIRS[w] for w in words)}!" for words in chosen
    ]


def test_words_are_told_apart_by_where_they_occur_together():
    found = word_translations(*bitext())
    assert {word: found[word] for word in PAIRS} == PAIRS
    assert found["ya"] == "the"


def test_rare_words_and_empty_bitext_teach_nothing():
    targets, sources = bitext()
    found = word_translations([*targets, "adimu mto"], [*sources, "rare river"])
    assert "adimu" not in found
    assert word_translations([], []) == {}


def test_a_table_has_the_most_probable_translations_which_add_up_to_one():
    table = word_translation_table(*bitext())
    for word, wanted in PAIRS.items():
        assert max(table[word], key=table[word].get) == wanted
        assert abs(sum(table[word].values()) - 1) < 1e-6
    assert word_translation_table([], []) == {}
    assert word_translation_table(["mto"], ["river"]) == {}, "a word that occurs once teaches nothing"
