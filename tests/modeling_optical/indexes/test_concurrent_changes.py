"""Three processes change one index at once, some are killed: what is left, some order of the whole changes explains."""

import json
import multiprocessing
import os
import random
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from modeling_optical.encoding.encoded_corpus import Encoder
from modeling_optical.indexes import Index, new_index, open_index

from .conftest import DIM
from .test_engines import MAKINGS, PACKAGES

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
ENCODER = Encoder("teacher", DIM, "f" * 64)
NAMES = ("a", "b", "c", "d")
ROUNDS = 8
# A document's version is in its vectors and in its text: the two never disagree.
AXES = np.eye(DIM, dtype=np.float32)
State = tuple[tuple[str, int], ...]


def given(names, version: int) -> tuple[list[str], list[np.ndarray], list[str]]:
    return list(names), [AXES[[version]]] * len(names), [f"word {version}"] * len(names)


def change(index: Index, kind: str, names, version: int) -> str:
    try:
        if kind == "remove":
            index.remove(names)
        else:
            getattr(index, kind)(*given(names, version))
    except (KeyError, ValueError) as error:
        if "not in the index" not in str(error) and "is taken" not in str(error):
            raise
        return "refused"
    return "done"


def work(folder: Path, number: int, changes) -> None:
    index = open_index(folder / "i")
    with open(folder / f"log-{number}", "w", encoding="utf-8") as log:
        for one in changes:
            outcome = change(index, *one)
            log.write(json.dumps(outcome) + "\n")
            log.flush()


def applied(state: State, kind: str, names, version: int) -> tuple[State, str]:
    there = dict(state)
    if kind == "build":
        return tuple((name, version) for name in sorted(names)), "done"
    if kind == "add" and not there.keys() & set(names):
        return tuple(sorted((there | dict.fromkeys(names, version)).items())), "done"
    if kind == "remove" and set(names) <= there.keys():
        return tuple(sorted((n, v) for n, v in there.items() if n not in names)), "done"
    return state, "refused"


def explained(start: State, end: State, changes, outcomes) -> bool:
    """Whether some order of the changes, each process's own kept, gives the outcomes and the end."""

    @cache
    def reaches(state: State, done: tuple[int, ...]) -> bool:
        # A killed process's next change may have happened, or not.
        if state == end and all(at >= len(told) for at, told in zip(done, outcomes, strict=True)):
            return True
        for process, at in enumerate(done):
            if at < min(len(changes[process]), len(outcomes[process]) + 1):
                after, outcome = applied(state, *changes[process][at])
                if at == len(outcomes[process]) or outcome == outcomes[process][at]:
                    following = tuple(n + (p == process) for p, n in enumerate(done))
                    if reaches(after, following):
                        return True
        return False

    return reaches(start, (0,) * len(changes))


def seen(index: Index) -> State:
    """What a search finds, each document by the version that its vectors have; its text has the same one."""
    ids, scores, texts = index.search_passages(list(AXES[:, None]), 10, ["word"] * DIM)
    found = [(name, v) for v, row in enumerate(ids) for name, score in zip(row, scores[v], strict=True) if score > 0.5]
    assert all(texts[name] == f"word {version}" for name, version in found), (found, texts)
    return tuple(sorted(found))


def random_changes(generator: random.Random) -> Iterator[tuple[str, tuple[str, ...], int]]:
    for _ in range(4):
        kind = generator.choice(["add", "add", "remove", "build"])
        yield kind, tuple(generator.sample(NAMES, generator.randint(1, 2))), generator.randrange(DIM)


@pytest.mark.parametrize("engine", ["exact", "two-stage", "bm25"])
def test_any_interleaving_of_changes_and_kills_is_some_order_of_whole_changes(tmp_path, engine):
    if engine in PACKAGES:
        pytest.importorskip(PACKAGES[engine])
    processes = multiprocessing.get_context("fork")
    for seed in range(ROUNDS):
        generator = random.Random(seed)
        folder = tmp_path / str(seed)
        name = "two-stage" if engine == "bm25" else engine
        new_index(folder / "i", ENCODER, name, dtype="float32", **MAKINGS[engine]).build(*given("ab", 0))
        reader = open_index(folder / "i")
        start = seen(reader)
        changes = [list(random_changes(generator)) for _ in range(3)]
        workers = [processes.Process(target=work, args=(folder, n, changes[n])) for n in range(3)]
        for worker in workers:
            worker.start()
        victim = workers[0] if seed % 2 else None
        ends = time.monotonic() + generator.random() * 0.15
        while any(worker.is_alive() for worker in workers):
            seen(reader)  # whole at every moment
            if victim is not None and time.monotonic() > ends:
                with suppress(ProcessLookupError):  # it may have ended by itself
                    os.kill(victim.pid, signal.SIGKILL)
                victim = None
        assert all(worker.exitcode in (0, -signal.SIGKILL) for worker in workers)
        outcomes = []
        for number in range(3):
            log = folder / f"log-{number}"
            outcomes.append([json.loads(line) for line in log.read_text().splitlines()] if log.is_file() else [])
        end = seen(open_index(folder / "i"))
        assert seen(reader) == end
        assert explained(start, end, changes, outcomes), (seed, start, changes, outcomes, end)
        # What the killed ones left is cleared away by the next change.
        reader.build(*given("z", 1))
        kept = {"index.json", "exact", *([reader.manifest.passages])}
        rest = {path.name for path in (folder / "i").iterdir()} - kept
        assert all(one.startswith(("segment-", "bm25-")) for one in rest)
        assert len(rest) <= 1
