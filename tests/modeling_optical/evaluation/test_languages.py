"""A system over several languages."""

import json
import statistics

import pytest

from modeling_optical.evaluation import ResultRow, format_summaries, summarise_languages, write_summaries


def row(language: str, value: float, system: str = "optical") -> ResultRow:
    return ResultRow(system, language, "emoji", "AP@100", value, value, value, 10)


def test_languages_count_alike_whatever_their_queries():
    (found,) = summarise_languages([row("en", 0.9), row("sw", 0.5), row("so", 0.2), row("fi", 0.7)])
    assert found.macro == pytest.approx(0.575)
    assert (found.worst, found.values["so"]) == ("so", 0.2)
    assert found.gap_to_english == pytest.approx(0.9 - (0.5 + 0.2 + 0.7) / 3)
    assert found.gap_to_best == pytest.approx(0.7)
    assert found.deviation == pytest.approx(statistics.stdev([0.9, 0.5, 0.2, 0.7]))


def test_without_english_there_is_no_gap_to_it():
    (found,) = summarise_languages([row("sw", 0.5), row("so", 0.2)])
    assert (found.gap_to_english, found.gap_to_best) == (None, pytest.approx(0.3))


def test_a_single_language_has_no_deviation():
    (found,) = summarise_languages([row("sw", 0.5)])
    assert (found.macro, found.deviation, found.gap_to_best) == (0.5, None, 0)
    assert format_summaries([found]).splitlines()[1].split()[-1] == "-"


def test_systems_are_summed_up_apart():
    found = summarise_languages([row("sw", 0.5), row("sw", 0.1, "floor"), row("so", 0.3)])
    assert [(one.system, one.macro) for one in found] == [("optical", pytest.approx(0.4)), ("floor", 0.1)]


def test_a_language_that_stands_twice_is_refused():
    with pytest.raises(ValueError, match="'sw' appears twice"):
        summarise_languages([row("sw", 0.5), row("sw", 0.4)])


def test_summaries_are_written_as_json(tmp_path):
    summaries = summarise_languages([row("en", 0.9), row("sw", 0.5)])
    (read,) = json.loads(write_summaries(tmp_path / "languages.json", summaries).read_text())
    assert read["values"] == {"en": 0.9, "sw": 0.5}
    assert read["worst"] == "sw"
