"""Many languages in one student: how often each is seen."""

from collections import Counter

import pytest
from datasets import Dataset

from trainer.bitext import language_shares, mix_languages

SIZES = {"de": 900, "sw": 100, "so": 9}


def bitext() -> Dataset:
    rows = [(f"s{i}", f"{code} {i}", code) for code, count in SIZES.items() for i in range(count)]
    return Dataset.from_dict({name: [row[i] for row in rows] for i, name in enumerate(("source", "target", "language"))})


@pytest.mark.parametrize("temperature", [1.0, 2.0, 5.0, float("inf")])
def test_shares_follow_the_temperature(temperature: float):
    shares = language_shares(SIZES, temperature)
    assert sum(shares.values()) == pytest.approx(1)
    assert shares["de"] / shares["sw"] == pytest.approx(9 ** (1 / temperature))
    mixed = Counter(mix_languages(bitext(), temperature)["language"])
    for language, share in shares.items():
        assert mixed[language] / mixed.total() == pytest.approx(share, abs=0.01)


def test_every_pair_is_there_and_the_largest_language_once():
    mixed = Counter(mix_languages(bitext(), 5.0)["target"])
    assert set(mixed) == set(bitext()["target"])
    assert {count for target, count in mixed.items() if target.startswith("de")} == {1}
    repeats = [count for target, count in mixed.items() if target.startswith("so")]
    assert max(repeats) - min(repeats) <= 1


def test_the_seed_chooses_which_pairs_are_repeated():
    targets = [mix_languages(bitext(), 3.0, seed=seed)["target"][:] for seed in (0, 0, 1)]
    assert targets[0] == targets[1] != targets[2]


def test_one_language_or_a_temperature_of_one_changes_nothing():
    everything = bitext()
    german = everything.select(range(900))
    assert mix_languages(everything, 1.0) is everything
    assert mix_languages(german, 5.0) is german


@pytest.mark.parametrize("temperature", [0, 0.5, -1, float("nan"), True])
def test_a_temperature_below_one_is_refused(temperature: float):
    with pytest.raises(ValueError, match="temperature is"):
        mix_languages(bitext(), temperature)


def test_a_language_without_pairs_is_refused():
    with pytest.raises(ValueError, match="the language 'so' has no pairs"):
        language_shares({"sw": 3, "so": 0}, 2.0)
