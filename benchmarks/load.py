"""Memory under load: bitext as a stream, a large index. Writes load.md and load.json beside itself.

    OMP_NUM_THREADS=1 taskset -c 0 python benchmarks/load.py [--pairs 1000000] [--documents 200000]

Bitext: generated pairs in a packed JSONL file go through reading, cleaning and the shuffle buffer as in training. Index:
generated unit vectors, 16 tokens × 32 per document, are built into an exact index and searched, each part in a process of its
own; texts and encoder are left out. Several processes at once: `torchrun --nproc_per_node 2 benchmarks/load.py`; each writes
files of its own.
"""

from __future__ import annotations

import argparse
import gzip
import json
import multiprocessing
import os
import platform
import random
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from modeling_optical.encoding.encoded_corpus import Encoder
from modeling_optical.files.atomic_write import write_text
from modeling_optical.indexes import ExactIndex
from trainer.bitext import BitextSource, Cleaning, StreamingOptions
from trainer.bitext.streaming import stream_bitext

TOKENS, DIM, QUERY_TOKENS, QUERIES = 16, 32, 16, 20
HERE = Path(__file__).parent
RANK = int(os.environ.get("RANK", "0"))


def resident() -> int:
    """MB of memory of this process now."""
    return psutil.Process().memory_info().rss // 2**20


def write_pairs(path: Path, count: int) -> None:
    """Sentences of 8 to 16 of 20,000 made-up words a side; no pair stands twice but by chance."""
    drawn = random.Random(0)
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = ["".join(drawn.choices(letters, k=drawn.randint(2, 8))) for _ in range(20_000)]
    with gzip.open(path, "wt", compresslevel=1) as stream:
        for _ in range(count):
            sides = {side: " ".join(drawn.choices(words, k=drawn.randint(8, 16))) for side in ("en", "sw")}
            stream.write(json.dumps(sides) + "\n")


def stream_pairs(folder: str, count: int) -> dict[str, Any]:
    """Reads all pairs once, as training does, and looks at the memory twenty times."""
    path = Path(folder, "pairs.jsonl.gz")
    source = BitextSource(path=str(path), source="en", target="sw")
    options = StreamingOptions(remembered=100_000)
    stream = stream_bitext([source], Cleaning(), {"sw": count}, options=options)
    seen, before, started = 0, resident(), time.perf_counter()
    memory = []
    for _ in stream:
        seen += 1
        if seen % (count // 20) == 0:
            memory.append((seen, resident()))
            print(f"{seen:,} pairs, {memory[-1][1]} MB resident", flush=True)
    seconds = time.perf_counter() - started
    return {"pairs": seen, "file_mb": path.stat().st_size // 2**20, "seconds": round(seconds, 1), "before_mb": before,
            "pairs_per_second": round(seen / seconds), "memory_mb": memory}  # fmt: skip


def documents(count: int) -> Iterator[np.ndarray]:
    drawn = np.random.default_rng(0)
    for _ in range(0, count, 1000):
        block = drawn.standard_normal((1000, TOKENS, DIM), dtype=np.float32)
        yield from block / np.linalg.norm(block, axis=2, keepdims=True)


def build_index(folder: str, count: int) -> dict[str, Any]:
    before, started = resident(), time.perf_counter()
    index = ExactIndex(Path(folder, "index"), Encoder("generated", DIM))
    index.build((f"d{number}" for number in range(count)), documents(count))
    seconds = time.perf_counter() - started
    size = sum(path.stat().st_size for path in Path(folder, "index").iterdir())
    return {"documents": len(index), "seconds": round(seconds, 1), "before_mb": before, "after_mb": resident(),
            "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024, "disk_mb": size // 2**20,
            "vectors_mb": count * TOKENS * DIM * 2 // 2**20}  # fmt: skip


def search_index(folder: str, _: int) -> dict[str, Any]:
    before, started = resident(), time.perf_counter()
    index = ExactIndex.load(Path(folder, "index"))
    opened = time.perf_counter() - started
    chosen = list(range(0, len(index), len(index) // QUERIES))[:QUERIES]
    queries = [index.document(f"d{number}").astype(np.float32)[:QUERY_TOKENS] for number in chosen]
    started = time.perf_counter()
    found = [index.search([query], 10)[0][0][0] for query in queries]
    seconds = (time.perf_counter() - started) / QUERIES
    right = sum(one == f"d{number}" for one, number in zip(found, chosen, strict=True))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    return {"opened_seconds": round(opened, 2), "seconds_per_query": round(seconds, 3), "found": f"{right} of {QUERIES}",
            "before_mb": before, "peak_mb": peak}  # fmt: skip


def in_a_process(work: Callable[[str, int], dict[str, Any]], folder: str, count: int) -> dict[str, Any]:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(work, (folder, count))


def report(pairs: dict[str, Any], built: dict[str, Any], searched: dict[str, Any]) -> str:
    memory = dict(pairs["memory_mb"])
    shown = [memory[number] for number in sorted(memory)][::4]
    numbers = sorted(memory)[::4]
    return "\n".join(
        [
            "# Memory under load",
            "",
            f"Made by `python benchmarks/load.py` on {platform.machine()}, {platform.system()}, one thread.",
            "",
            f"Bitext: {pairs['pairs']:,} pairs of a packed file of {pairs['file_mb']} MB, read, cleaned and shuffled in "
            f"{pairs['seconds']:,} s ({pairs['pairs_per_second']:,} a second); {pairs['before_mb']} MB before the first pair.",
            "",
            "| pairs | " + " | ".join(f"{number:,}" for number in numbers) + " |",
            "|---|" + "---|" * len(numbers),
            "| resident MB | " + " | ".join(str(value) for value in shown) + " |",
            "",
            f"Index: {built['documents']:,} documents of {TOKENS} × {DIM} in float16 ({built['vectors_mb']} MB of vectors).",
            "",
            "| | seconds | resident before, MB | peak, MB | |",
            "|---|---|---|---|---|",
            f"| built | {built['seconds']} | {built['before_mb']} | {built['peak_mb']} | {built['disk_mb']} MB on disk |",
            f"| opened | {searched['opened_seconds']} | {searched['before_mb']} | | |",
            f"| searched | {searched['seconds_per_query']} a query | | {searched['peak_mb']} | first: {searched['found']} |",
            "",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=1_000_000)
    parser.add_argument("--documents", type=int, default=200_000, help="a multiple of 1,000")
    parser.add_argument("--output", type=Path, default=HERE, help="folder of load.md and load.json")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        write_pairs(Path(folder, "pairs.jsonl.gz"), options.pairs)
        pairs = in_a_process(stream_pairs, folder, options.pairs)
        built = in_a_process(build_index, folder, options.documents)
        searched = in_a_process(search_index, folder, options.documents)
    name = "load" if RANK == 0 else f"load.{RANK}"
    results = {"pairs": pairs, "built": built, "searched": searched}
    write_text(options.output / f"{name}.json", json.dumps(results, indent=1) + "\n")
    print(write_text(options.output / f"{name}.md", report(pairs, built, searched)).read_text())


if __name__ == "__main__":
    main()
