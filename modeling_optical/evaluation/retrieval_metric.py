"""The same metrics as a metric of Hugging Face's `evaluate`, without the network."""

import datasets
import evaluate

from modeling_optical.evaluation.metrics import METRICS, per_query

_DESCRIPTION = "Retrieval metrics by ir_measures: AP@100 first, nDCG@10, RR@10, R@10, R@100, Success@1."


class RetrievalMetric(evaluate.Metric):
    """Retrieval metrics of a run against judgements.

    `compute(predictions=…, references=…)` takes a row per retrieved document, `{"query", "document", "score"}`, and a row per
    judgement, `{"query", "document", "grade"}`, as lists of equal or different length wrapped in one item each:

    >>> metric = RetrievalMetric()
    >>> metric.compute(predictions=[{"query": ["q"], "document": ["d"], "score": [1.0]}],
    ...                references=[{"query": ["q"], "document": ["d"], "grade": [1]}])["RR@10"]
    1.0
    """

    def _info(self) -> evaluate.MetricInfo:
        text, number, grade = datasets.Value("string"), datasets.Value("float64"), datasets.Value("int64")
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation="MacAvaney, Macdonald, Ounis: Streamlining Evaluation with ir-measures. ECIR 2022.",
            features=datasets.Features(
                {
                    "predictions": {
                        "query": datasets.Sequence(text),
                        "document": datasets.Sequence(text),
                        "score": datasets.Sequence(number),
                    },
                    "references": {
                        "query": datasets.Sequence(text),
                        "document": datasets.Sequence(text),
                        "grade": datasets.Sequence(grade),
                    },
                }
            ),
        )

    def _compute(self, predictions: list[dict], references: list[dict], metrics: tuple[str, ...] = METRICS) -> dict:
        run: dict[str, dict[str, float]] = {}
        qrels: dict[str, dict[str, int]] = {}
        for table, column, target in ((predictions, "score", run), (references, "grade", qrels)):
            for part in table:
                for query, document, value in zip(part["query"], part["document"], part[column], strict=True):
                    target.setdefault(query, {})[document] = value
        if not qrels:
            raise ValueError("there are no judgements (references): nothing can be measured.")
        values = per_query(qrels, run, metrics)
        return {name: sum(by_query.values()) / len(by_query) for name, by_query in values.items()}
