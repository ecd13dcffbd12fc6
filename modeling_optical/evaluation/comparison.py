"""Runs of several systems on the same judgements, compared in pairs."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path

from ..files.lines import json_lines
from .collections import Corpus, texts_of
from .collections.judgements import with_relevant
from .metrics import per_query, ranked, unjudged_share
from .significance import PairedComparison, compare_paired, holm
from .trec import read_qrels, read_run


@dataclass
class JudgedRuns:
    """Runs on one collection.

    Attributes:
        collection: its name.
        qrels: query id to {document id: grade}.
        runs: system to its run.
        queries: query id to text, as far as known.
        without_relevant: judged queries without a relevant document, which do not count.
        notes: what the reader has to know, for instance queries that a run lacks.
    """

    collection: str
    qrels: dict[str, dict[str, int]]
    runs: dict[str, dict[str, dict[str, float]]]
    queries: dict[str, str] = field(default_factory=dict)
    without_relevant: Set[str] = frozenset()
    notes: list[str] = field(default_factory=list)


@dataclass
class PairOfSystems:
    """Two systems on one collection by one metric.

    Attributes:
        collection, metric, first, second: names of the collection, the metric and the systems.
        result: the comparison, first minus second.
        t_test_holm, randomisation_holm: the tests' p after Holm's correction over all pairs, metrics and collections compared
            together.
    """

    collection: str
    metric: str
    first: str
    second: str
    result: PairedComparison
    t_test_holm: float | None = None
    randomisation_holm: float | None = None


@dataclass
class QueryDifference:
    """A query on which two systems differ.

    Attributes:
        query: its id.
        text: its text, if known.
        first, second: the two systems' values.
        relevant: (document id, text or "") of the relevant documents with the highest grade, at most three.
        found_first, found_second: (document id, text or "", grade or None if unjudged) of each system's first result.
    """

    query: str
    text: str
    first: float
    second: float
    relevant: list[tuple[str, str]]
    found_first: list[tuple[str, str, int | None]]
    found_second: list[tuple[str, str, int | None]]


def read_judged_runs(
    paths: Sequence[str | os.PathLike],
    qrels: str | os.PathLike | None = None,
    systems: Sequence[str] = (),
    collections: Sequence[str] = (),
) -> list[JudgedRuns]:
    """Reads TREC runs, or the folders of runs that `optical run` and `optical evaluate` write.

    Args:
        paths: run files (all on the judgements `qrels`), or folders, whose judgements lie beside the runs.
        qrels: judgements of run files.
        systems, collections: only these of folders (a collection as in `runs/`: `emoji.sw`), systems in the order given; all by
            default.

    Raises:
        FileNotFoundError: for a path that does not exist, or a folder without runs.
        ValueError: for run files without judgements, or a run that shares no query with them; for folders whose judgements of a
            collection differ in their queries (the message names some); for an unknown system or collection, or a broken line
            (the message names file and line).
    """
    found = [Path(path).expanduser() for path in paths]
    for path in found:
        if not path.exists():
            raise FileNotFoundError(f"{path}: there is no such run file or folder.")
    files, folders = [path for path in found if path.is_file()], [path for path in found if path.is_dir()]
    if files and qrels is None:
        raise ValueError(f"{files[0]} is a run file: its judgements are needed (--qrels FILE).")
    judged = _of_folders(folders, systems, collections)
    if files:
        assert qrels is not None
        names = _names(files)
        runs = {name: read_run(path) for name, path in zip(names, files, strict=True)}
        judged.append(_judged(Path(qrels).stem, Path(qrels), runs))
    for one in judged:
        _check(one)
    return judged


def _judged(collection: str, qrels: Path, runs: dict[str, dict[str, dict[str, float]]]) -> JudgedRuns:
    everything = read_qrels(qrels)
    kept, notes = with_relevant(everything, collection)
    if not kept:
        raise ValueError(f"{qrels}: no query has a relevant document (a grade above 0).")
    return JudgedRuns(collection, kept, runs, without_relevant=everything.keys() - kept.keys(), notes=notes)


def _names(files: Sequence[Path]) -> list[str]:
    """The files' names without their ending, or with their folders where those are the same."""
    stems = [path.stem for path in files]
    names = stems if len(set(stems)) == len(stems) else [str(path.with_suffix("")) for path in files]
    if len(set(names)) < len(names):
        raise ValueError(f"a run is given twice: {', '.join(str(path) for path in files)}.")
    return names


def _of_folders(folders: Sequence[Path], systems: Sequence[str], wanted: Sequence[str]) -> list[JudgedRuns]:
    homes = {folder.resolve().name: folder / "runs" if (folder / "runs").is_dir() else folder for folder in folders}
    if len(homes) < len(folders):
        homes = {str(folder): folder / "runs" if (folder / "runs").is_dir() else folder for folder in folders}
    entries = [(collection, system, name, path) for name, home in homes.items() for collection, system, path in _listed(home)]
    there = {collection for collection, *_ in entries}, {system for _, system, *_ in entries}
    for asked, known, what in ((wanted, there[0], "collection"), (systems, there[1], "system")):
        if entries and (unknown := sorted(set(asked) - known)):
            raise ValueError(f"there is no {what} {', '.join(unknown)} in the folders. There: {', '.join(sorted(known))}.")
    entries = [e for e in entries if (not wanted or e[0] in wanted) and (not systems or e[1] in systems)]
    if systems:
        entries.sort(key=lambda entry: systems.index(entry[1]))
    often = Counter((collection, system) for collection, system, *_ in entries)
    together: dict[str, JudgedRuns] = {}
    for collection, system, name, path in entries:
        judged = _join(together, collection, path.parent)
        judged.runs[system if often[collection, system] == 1 else f"{name}/{system}"] = read_run(path)
    return [together[key] for key in sorted(together)]


def _listed(home: Path) -> list[tuple[str, str, Path]]:
    """(collection, system, run file) of a folder."""
    collections = sorted((path.name.removesuffix(".qrels") for path in home.glob("*.qrels")), key=len, reverse=True)
    runs = sorted(home.glob("*.trec"))
    if not collections or not runs:
        raise FileNotFoundError(f"{home}: no runs (*.trec) with judgements (*.qrels) in it.")
    listed = []
    for path in runs:
        collection = next((c for c in collections if path.name.endswith(f".{c}.trec")), None)
        if collection is None:
            raise ValueError(f"{path}: no judgements beside it (COLLECTION.qrels for SYSTEM.COLLECTION.trec).")
        listed.append((collection, path.name.removesuffix(f".{collection}.trec"), path))
    return listed


def _join(together: dict[str, JudgedRuns], collection: str, home: Path) -> JudgedRuns:
    """The runs on a collection so far; the judgements of another folder must be the same queries'."""
    judged = _judged(collection, home / f"{collection}.qrels", {})
    if collection not in together:
        queries = home / f"{collection}.queries.jsonl"
        judged.queries = dict(TextFile(queries).items()) if queries.is_file() else {}
        together[collection] = judged
    known, qrels = together[collection].qrels, judged.qrels
    if set(known) != set(qrels):
        only, other = sorted(set(known) - set(qrels)), sorted(set(qrels) - set(known))
        raise ValueError(
            f"{home / collection}.qrels judges other queries than the folders before it: missing here "
            f"{_some(only)}; only here {_some(other)}. Runs can be compared on the same queries only."
        )
    if known != qrels:
        raise ValueError(f"{home / collection}.qrels has other judgements of the same queries than the folders before it.")
    return together[collection]


def _some(identifiers: Sequence[str]) -> str:
    return ", ".join(identifiers[:3]) + (f" and {len(identifiers) - 3} more" if len(identifiers) > 3 else "") or "none"


def _check(judged: JudgedRuns) -> None:
    for system, run in judged.runs.items():
        missing = [query for query in judged.qrels if not run.get(query)]
        foreign = [query for query in run if query not in judged.qrels and query not in judged.without_relevant]
        if foreign and len(missing) == len(judged.qrels):
            raise ValueError(
                f"run {system!r} has none of the judged queries of {judged.collection!r}. Judged are "
                f"{_some(list(judged.qrels))}; the run has {_some(list(run))}."
            )
        if missing:
            judged.notes.append(
                f"{judged.collection}: run {system!r} lacks {len(missing)} of {len(judged.qrels)} judged queries, which count "
                f"as 0: {_some(missing)}."
            )
        if foreign:
            judged.notes.append(
                f"{judged.collection}: run {system!r} has {len(foreign)} queries without judgements, which do not count: "
                f"{_some(foreign)}."
            )


def compare_systems(
    judged: Sequence[JudgedRuns], metrics: Sequence[str], *, baseline: str | None = None
) -> list[PairOfSystems]:
    """Compares all pairs of systems on every collection by every metric, with Holm's correction over all of them.

    Args:
        judged: the runs.
        metrics: names of `ir_measures`.
        baseline: compare with this system only; it stands second.

    Raises:
        ValueError: if there are no two systems to compare, or the baseline is not there.
    """
    pairs = []
    for one in judged:
        if baseline is not None and baseline not in one.runs:
            raise ValueError(f"{one.collection}: there is no run of {baseline!r}. Systems: {', '.join(one.runs)}.")
        values = {system: per_query(one.qrels, run, metrics) for system, run in one.runs.items()}
        chosen = [(s, baseline) for s in one.runs if s != baseline] if baseline else list(combinations(one.runs, 2))
        for metric in metrics:
            for first, second in chosen:
                ordered = [[values[system][metric][query] for query in one.qrels] for system in (first, second)]
                pairs.append(PairOfSystems(one.collection, metric, first, second, compare_paired(*ordered)))
    if not pairs:
        raise ValueError("there are no two systems on the same collection: give two or more runs.")
    corrected_t = holm([pair.result.t_test for pair in pairs])
    corrected_randomisation = holm([pair.result.randomisation for pair in pairs])
    for pair, by_t, by_randomisation in zip(pairs, corrected_t, corrected_randomisation, strict=True):
        pair.t_test_holm, pair.randomisation_holm = by_t, by_randomisation
    return pairs


def unjudged(judged: JudgedRuns, k: int = 10) -> dict[str, float]:
    """System to the mean share of unjudged documents among its first k."""
    shares = {system: unjudged_share(judged.qrels, run, k) for system, run in judged.runs.items()}
    return {system: sum(share.values()) / len(share) for system, share in shares.items()}


def largest_differences(
    judged: JudgedRuns,
    metric: str,
    first: str,
    second: str,
    *,
    count: int = 5,
    corpus: Corpus | None = None,
    shown: int = 3,
) -> tuple[list[QueryDifference], list[QueryDifference]]:
    """The queries on which the first system is furthest above and furthest below the second, with the texts.

    Args:
        judged: the runs.
        metric: name of `ir_measures`.
        first, second: systems.
        count: how many of either kind at most.
        corpus: where the documents' texts are, read once.
        shown: documents of each run.

    Returns:
        Wins and losses, the largest first.
    """
    values = {system: per_query(judged.qrels, judged.runs[system], [metric])[metric] for system in (first, second)}
    difference = {query: values[first][query] - values[second][query] for query in judged.qrels}
    ordered = sorted(difference, key=lambda query: difference[query])
    losses = [query for query in ordered[:count] if difference[query] < -1e-12]
    wins = [query for query in ordered[::-1][:count] if difference[query] > 1e-12]
    tops = {(system, query): _top(judged.runs[system], query, shown) for system in values for query in wins + losses}
    relevant = {query: _relevant(judged.qrels[query]) for query in wins + losses}
    identifiers = {d for found in (*tops.values(), *relevant.values()) for d in found}
    texts = texts_of(corpus, identifiers) if corpus is not None and identifiers else {}

    def described(query: str) -> QueryDifference:
        grades = judged.qrels[query]
        found = [[(d, texts.get(d, ""), grades.get(d)) for d in tops[system, query]] for system in (first, second)]
        wanted = [(d, texts.get(d, "")) for d in relevant[query]]
        text = judged.queries.get(query, "")
        return QueryDifference(query, text, values[first][query], values[second][query], wanted, found[0], found[1])

    return [described(query) for query in wins], [described(query) for query in losses]


def _top(run: Mapping[str, Mapping[str, float]], query: str, count: int) -> list[str]:
    return ranked(run.get(query, {}))[:count]


def _relevant(grades: Mapping[str, int], count: int = 3) -> list[str]:
    return [document for document in ranked(grades)[:count] if grades[document] > 0]


class TextFile:
    """A file with a JSON object a line (`_id`, `id` or `docid`; `text` or `contents`; `title`), packed or not, as a corpus.

    `items` raises ValueError for a line that is none (file and line named).
    """

    def __init__(self, path: str | os.PathLike):
        self.path = Path(path).expanduser()
        if not self.path.is_file():
            raise FileNotFoundError(f"{self.path}: there is no such file.")

    def items(self) -> Iterator[tuple[str, str]]:
        """Pairs of id and text, read anew."""
        for place, record in json_lines(self.path):
            identifier = next((str(record[key]) for key in ("_id", "id", "docid") if key in record), None)
            text = next((record[key] for key in ("text", "contents") if isinstance(record.get(key), str)), None)
            if identifier is None or text is None:
                raise ValueError(f"{place}: a record needs an id (`_id`, `id`, `docid`) and a text (`text`, `contents`).")
            title = record.get("title")
            yield identifier, f"{title} {text}" if title else text

    def __len__(self) -> int:
        return sum(1 for _ in self.items())
