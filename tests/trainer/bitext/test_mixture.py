"""A training set of a fixed size from groups by shares."""

import json
from collections import Counter

import pytest
from datasets import Dataset

from trainer.bitext import BitextSource, MixtureOptions, draw_mixture, load_bitext

SOURCES = [
    BitextSource(path="tico.jsonl", target="sw", group="domain"),
    BitextSource(path="news.jsonl", target="sw", group="general"),
    BitextSource(path="talks.jsonl", target="sw", group="general"),
]


def pairs() -> Dataset:
    rows = [
        (f"{name} {i}", f"{name}.jsonl") for name, count in (("tico", 40), ("news", 30), ("talks", 30)) for i in range(count)
    ]
    return Dataset.from_dict({"source": [row[0] for row in rows], "origin": [row[1] for row in rows]})


def drawn(share: float, total: int = 20, seed: int = 0) -> list[str]:
    return draw_mixture(pairs(), MixtureOptions(total, {"domain": share, "general": None}), SOURCES, seed=seed)["source"]


@pytest.mark.parametrize("share", [0, 0.25, 0.5, 0.75, 1])
def test_the_total_is_fixed_and_the_share_is_kept(share):
    counted = Counter(text.split()[0] == "tico" for text in drawn(share))
    assert counted.total() == 20
    assert counted[True] == 20 * share


def test_with_the_same_seed_a_smaller_share_is_a_part_of_a_larger_one():
    domain = [{text for text in drawn(share) if text.startswith("tico")} for share in (0.25, 0.5, 1)]
    assert domain[0] < domain[1] < domain[2]
    general = [{text for text in drawn(share) if not text.startswith("tico")} for share in (0.75, 0.25)]
    assert general[0] < general[1]
    assert drawn(0.5) == drawn(0.5)
    assert drawn(0.5) != drawn(0.5, seed=1)


def test_too_few_pairs_are_told_with_how_many_there_are():
    with pytest.raises(ValueError, match=r"wants 50 pairs of the group 'domain', but its sources have 40"):
        drawn(1.0, total=50)


@pytest.mark.parametrize(
    ("total", "shares", "message"),
    [
        (0, {"a": 1.0}, "total is 0"),
        (5, {"a": 1.5, "b": None}, "shares.a is 1.5"),
        (5, {"a": 0.5}, "add up to 0.5"),
        (5, {"a": 0.6, "b": 0.6}, "add up to 1.2"),
        (5, {"a": None, "b": None}, "only one"),
    ],
)
def test_shares_that_make_no_whole_are_refused(total, shares, message):
    with pytest.raises(ValueError, match=message):
        MixtureOptions(total, shares)


def test_rounding_loses_no_pair():
    options = MixtureOptions(7, {"a": 1 / 3, "b": 1 / 3, "c": None})
    assert sum(options.counts.values()) == 7
    assert min(options.counts.values()) >= 2


@pytest.mark.parametrize(
    ("sources", "message"),
    [
        (SOURCES[:1], "no source of data.bitext has `group: general`"),
        ([*SOURCES, BitextSource(path="x.jsonl", target="sw")], "x.jsonl is in the group '', which"),
        ([*SOURCES, BitextSource(path="tico.jsonl", target="sw", group="general")], "tico.jsonl is in two groups"),
    ],
)
def test_groups_without_sources_and_sources_without_groups_are_told(sources, message):
    with pytest.raises(ValueError, match=message):
        draw_mixture(pairs(), MixtureOptions(4, {"domain": 0.5, "general": None}), sources, seed=0)


def test_documents_that_are_tested_on_are_left_out_and_counted(tmp_path):
    rows = [
        {"en": f"English {d} {i}", "sw": f"Kiswahili {d} {i}", "document": d} for d in ("wiki_1", "wiki_2") for i in range(3)
    ]
    (tmp_path / "sw.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    kept, report = load_bitext([BitextSource(path=str(tmp_path / "sw.jsonl"), target="sw", left_out_documents=["wiki_2"])])
    assert set(kept["document"]) == {"wiki_1"}
    assert list(report.dropped.values()) == [{"left-out document": 3}]
    with pytest.raises(ValueError, match="no pair of the document 'wiki_3'"):
        load_bitext([BitextSource(path=str(tmp_path / "sw.jsonl"), target="sw", left_out_documents=["wiki_3"])])
