"""Every measured figure in README and docs says, invisibly, which stored result it is, and equals it (CONTRIBUTING.md)."""

import csv
import json
import re
import shlex
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
MARK = re.compile(r"<!-- (?:(?P<figure>\S+(?: %)?) )?from: (?P<file>\S+) (?P<selectors>.*) -->$")
NOT_STORED = re.compile(r"<!-- not stored: .+ -->$")
NUMBER = re.compile(r"[-+−]?\d[\d,]*(?:\.\d+)?")
# What looks like a measurement: three decimals, milliseconds, a speed-up, a share.
MEASURED = re.compile(r"(?<![\d.])\d\.\d{3}(?![\d.])|\d ms\b|\d(?:×| times (?:as|the|faster))|(?<![\d.])(?!95 )[\d.]+ %")
# How pages name what result files abbreviate.
LABELS = {
    "transport + contrastive": "optical", "contrastive": "contrastive", "pooled MSE": "pooled_mse",
    "greedy alignment": "greedy", "teacher as it comes": "floor", "student": "optical", "BM25": "bm25",
    "teacher, English queries": "ceiling", "Swahili": "sw", "Somali": "so", "Tagalog": "tl", "Filipino": "tl",
    "Marathi": "mr", "Finnish": "fi", "German": "de", "French": "fr",
    "e5-small, one vector": "multilingual-e5-small", "e5-small, token vectors": "multilingual-e5-small-tokens",
    "our teacher, no bitext": "floor",
    "translation table": "structured_queries",
    "pooled MSE, contrastive": "pooled_contrastive", "pooled MSE, contrastive, score KL": "pooled_contrastive_kl",
    "transport, pooled MSE, contrastive": "transport_pooled_contrastive", "transport, contrastive": "transport_contrastive",
    "transport, pooled MSE, contrastive, ε 0.01": "transport_pooled_contrastive_epsilon_0.01",
    "transport, contrastive, ε 0.01": "transport_contrastive_epsilon_0.01", "score KL": "score_kl",
    "plain transport": "plain_transport", "plain transport, ε 0.01": "plain_transport_epsilon_0.01", "greedy": "greedy",
    "neighbours": "tico19_neighbours", "passages": "tico19_sw_passages", "news passages": "lafand_sw_passages",
    "before training": "start", "after training": "trained", "XQuAD: a question finds its passage": "xquad",
    "articles: a sentence finds the rest of its article": "flores200_articles",
    "Belebele: a question finds its passage": "belebele",
    "transport alone": "optical", "transport and contrastive": "both",
    "without this training, no bitext": "encoder_floor", "news neighbours": "lafand_neighbours",
    "without this training, pooled MSE, contrastive": "encoder_pooled_contrastive",
    "pooled MSE, contrastive, 1,000 updates": "pooled_contrastive_1000_updates",
    "32 passages": "passages", "128 sentences": "sentences", "one query": "query",
    "1,000": "1000", "5,000": "5000", "34,053": "all",
}  # fmt: skip


def blocks(text: str) -> list[tuple[list[str], list[str]]]:
    """The paragraphs and tables of a page, code left out, each with the comments in front of it."""
    found, comments, lines = [], [], []
    for line in [*re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE).splitlines(), ""]:
        if line.startswith("<!-- ") and not lines:
            comments.append(line.rstrip())
        elif line.strip():
            lines.append(line)
        elif lines:
            found.append((comments, lines))
            comments, lines = [], []
    return found


def selected(file: str, selectors: list[str]) -> float | dict:
    """What the selectors leave of a result file: `key=value` keeps rows, `key` goes into one, `of_the_way=SYSTEM` computes."""
    path = ROOT / file
    with path.open(encoding="utf-8", newline="") as stream:
        data = json.load(stream) if path.suffix == ".json" else list(csv.DictReader(stream))
    for selector in selectors:
        key, equals, value = selector.partition("=")
        if key == "of_the_way":
            floor, ceiling, student = (
                float(next(row for row in data if row["system"] == name)["value"]) for name in ("floor", "ceiling", value)
            )
            return (student - floor) / (ceiling - floor)
        if equals:
            data = [row for row in data if str(row[key]) == value]
            continue
        if isinstance(data, list) and not key.isdigit():
            (data,) = data
        data = data[int(key) if key.isdigit() else key]
    if isinstance(data, list):
        (data,) = data
    return data


def agrees(printed: str, percent: bool, value: float) -> bool:
    """Whether a printed figure is the value to its own precision."""
    plain = printed.replace(",", "").replace("−", "-")
    step = 10.0 ** -len(plain.partition(".")[2])
    return abs(float(plain) - float(value) * (100 if percent else 1)) <= step / 2 + 1e-9


def check_cell(cell: str, found: float | dict) -> None:
    values = [found[key] for key in ("value", "low", "high") if key in found] if isinstance(found, dict) else [found]
    printed = NUMBER.findall(cell)
    assert len(printed) <= len(values)
    for figure, value in zip(printed, values, strict=False):
        assert agrees(figure, "%" in cell, value), f"{cell} is {value}"


def cells(line: str) -> list[str]:
    return [re.sub(r"[*`]", "", cell).strip() for cell in line.strip().strip("|").split("|")]


def check(mark: re.Match, lines: list[str]) -> int:
    """Compares what a mark stands for; the number of figures."""
    selectors = shlex.split(mark["selectors"])
    if mark["figure"]:
        assert mark["figure"] in " ".join(lines), f"{mark['figure']} is not in the paragraph"
        check_cell(mark["figure"], selected(mark["file"], selectors))
        return 1
    (head, *_), rows = cells(lines[0])[:1], [cells(line) for line in lines]
    compared = 0
    for row in rows[2:]:
        for column, cell in zip(rows[0][1:], row[1:], strict=True):
            if NUMBER.search(cell):
                names = {"{row}": LABELS.get(row[0], row[0]), "{column}": LABELS.get(column, column)}
                own = [re.sub(r"\{row\}|\{column\}", lambda m, n=names: n[m[0]], selector) for selector in selectors]
                check_cell(cell, selected(mark["file"], own))
                compared += 1
    assert compared, f"no figures in the table {head}"
    return compared


def marked() -> list:
    found = []
    for page in [*PAGES, *sorted((ROOT / "benchmarks").glob("*.md"))]:
        for comments, lines in blocks(page.read_text(encoding="utf-8")):
            marks = [mark for mark in map(MARK.match, comments) if mark]
            name = f"{page.relative_to(ROOT)}: {lines[0][:40]}"
            found += [pytest.param(mark, lines, id=f"{name} {number}") for number, mark in enumerate(marks)]
    return found


@pytest.mark.parametrize(("mark", "lines"), marked())
def test_a_figure_is_the_stored_result(mark, lines):
    assert check(mark, lines) > 0


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_measured_figure_says_where_it_is_from(page):
    """A paragraph names each of its figures, a table has one mark; what no file holds says so."""
    for comments, lines in blocks(page.read_text(encoding="utf-8")):
        marks = [mark for mark in map(MARK.match, comments) if mark]
        if any(map(NOT_STORED.match, comments)) or any(not mark["figure"] for mark in marks):
            continue
        text = re.sub(r"`[^`]*`|\]\([^)]*\)", " ", " ".join(lines))
        for mark in marks:
            text = text.replace(mark["figure"], " ")
        assert not MEASURED.search(text), f"{page.name}: which stored result is this? {text[:300]}"


@pytest.mark.parametrize("wrong", ["0.376", "0.38", "39 %"])
def test_a_figure_that_differs_is_found(wrong):
    row = "benchmarks/quickstart.results.json system=optical language=sw collection=emoji metric=AP@100"
    for figure, right in ((wrong, wrong == "0.38"), ("0.375", True)):
        comments, lines = blocks(f"<!-- {figure} from: {row} -->\nThe student reaches {figure}.\n")[0]
        mark = MARK.match(comments[0])
        if right:
            assert check(mark, lines) == 1
        else:
            with pytest.raises(AssertionError):
                check(mark, lines)
