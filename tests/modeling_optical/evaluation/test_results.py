"""The results file, its intervals and its table."""

import json
from pathlib import Path

import numpy as np
import pytest

from modeling_optical.evaluation import ResultRow, format_table, read_results, result_rows, write_results
from modeling_optical.evaluation.results import bootstrap_interval

ROWS = [
    ResultRow("optical", "sw", "emoji", "AP@100", 0.25, 0.125, 0.375, 1234),
    ResultRow("optical", "sw", "emoji", "RR@10", 0.5, 0.4, 0.6, 1234),
    ResultRow("ceiling", "en", "emoji", "AP@100", 1.0, 1.0, 1.0, 1234),
]


@pytest.mark.parametrize("values", [[0.3], [0.3] * 7, [0.0, 0.0], [1.0] * 50])
def test_the_interval_of_a_constant_is_that_constant(values: list[float]):
    assert bootstrap_interval(values) == (values[0], values[0])


def test_an_interval_of_nothing_is_refused():
    with pytest.raises(ValueError, match="at least one value"):
        bootstrap_interval([])


def test_the_interval_holds_the_mean_and_stays_within_the_values():
    values = np.random.default_rng(1).random(60)
    low, high = bootstrap_interval(values)
    assert values.min() < low < values.mean() < high < values.max()


def test_the_interval_is_the_same_every_time():
    values = np.random.default_rng(2).random(30)
    assert bootstrap_interval(values) == bootstrap_interval(list(values))


def test_a_higher_level_gives_a_wider_interval():
    values = np.random.default_rng(3).random(40)
    (inner_low, inner_high), (low, high) = bootstrap_interval(values, level=0.8), bootstrap_interval(values, level=0.99)
    assert low < inner_low < inner_high < high


def test_four_times_the_queries_give_half_the_width():
    values = np.random.default_rng(4).random(100)
    low, high = bootstrap_interval(values)
    narrow_low, narrow_high = bootstrap_interval(np.tile(values, 4))
    assert (narrow_high - narrow_low) / (high - low) == pytest.approx(0.5, rel=0.15)


def test_the_interval_covers_the_true_mean_about_as_often_as_it_says():
    generator = np.random.default_rng(5)
    covered = 0
    for _ in range(200):
        low, high = bootstrap_interval(generator.random(50) ** 2, seed=0)
        covered += low <= 1 / 3 <= high
    # 95 % of 200 with a binomial deviation of 3; the percentile bootstrap of 50 values falls a little short.
    assert 0.89 <= covered / 200 <= 0.99


def test_a_run_gives_a_row_with_mean_interval_and_count_for_every_metric():
    values = {"AP@100": {"a": 0.0, "b": 0.5, "c": 1.0}, "RR@10": {"a": 1.0, "b": 1.0, "c": 1.0}}
    first, second = result_rows("optical", "sw", "emoji", values)
    assert (first.system, first.language, first.collection, first.metric) == ("optical", "sw", "emoji", "AP@100")
    assert first.value == pytest.approx(0.5)
    assert 0 <= first.low < 0.5 < first.high <= 1
    assert second == ResultRow("optical", "sw", "emoji", "RR@10", 1.0, 1.0, 1.0, 3)


def test_the_results_file_reads_back_as_it_was_written(tmp_path: Path):
    assert read_results(write_results(tmp_path / "run" / "results.json", ROWS)) == ROWS


def test_the_results_file_is_a_list_of_rows_with_exactly_the_documented_keys(tmp_path: Path):
    rows = json.loads(write_results(tmp_path / "results.json", ROWS).read_text(encoding="utf-8"))
    assert [list(row) for row in rows] == [
        ["system", "language", "collection", "metric", "value", "low", "high", "queries"]
    ] * len(ROWS)
    assert rows[0] == {
        "system": "optical", "language": "sw", "collection": "emoji", "metric": "AP@100",
        "value": 0.25, "low": 0.125, "high": 0.375, "queries": 1234,
    }  # fmt: skip


def test_numbers_in_the_results_file_have_six_places(tmp_path: Path):
    row = ResultRow("s", "sw", "c", "AP@100", 1 / 3, np.float64(2 / 3), 0.1234567, 3)
    (read,) = read_results(write_results(tmp_path / "results.json", [row]))
    assert (read.value, read.low, read.high) == (0.333333, 0.666667, 0.123457)


def test_an_empty_list_of_results_reads_back_empty(tmp_path: Path):
    assert read_results(write_results(tmp_path / "results.json", [])) == []


@pytest.mark.parametrize(
    "text",
    ["", "not json", '{"system": "optical"}', "[1]", '[{"system": "optical"}]', "3", "null"],
    ids=["empty", "not JSON", "object", "number in it", "keys missing", "number", "null"],
)
def test_a_file_that_holds_no_results_is_refused_by_its_name(tmp_path: Path, text: str):
    path = tmp_path / "results.json"
    path.write_text(text)
    with pytest.raises(ValueError, match="is not a results file") as error:
        read_results(path)
    assert str(path) in str(error.value)


def test_a_row_without_a_key_is_refused_with_that_key(tmp_path: Path):
    path = write_results(tmp_path / "results.json", ROWS)
    rows = json.loads(path.read_text())
    del rows[1]["queries"]
    path.write_text(json.dumps(rows))
    with pytest.raises(ValueError, match="queries"):
        read_results(path)


def test_the_table_has_a_line_per_system_with_value_and_interval():
    header, first, second = format_table(ROWS, ["AP@100", "RR@10"]).splitlines()
    assert header.split() == ["system", "language", "collection", "queries", "AP@100", "RR@10"]
    assert first.split(maxsplit=4) == ["optical", "sw", "emoji", "1,234", "0.250 [0.125, 0.375]  0.500 [0.400, 0.600]"]
    assert second.split() == ["ceiling", "en", "emoji", "1,234", "1.000", "[1.000,", "1.000]", "-"]


def test_the_columns_of_the_table_stand_below_each_other():
    header, *lines = format_table(ROWS, ["AP@100"]).splitlines()
    place = header.index("AP@100")
    assert all(line[place - 2 : place] == "  " and line[place].isdigit() for line in lines)
