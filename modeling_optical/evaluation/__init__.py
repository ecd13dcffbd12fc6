"""Collections, metrics with intervals, TREC runs, the results file, and the same models under mteb."""

from .collections import Collection, load_collection
from .metrics import METRICS, per_query, translation_retrieval
from .mteb_model import MTEBModel
from .results import ResultRow, format_table, read_results, result_rows, write_results
from .retrieval import EncodedDocuments, encode_documents, retrieve
from .trec import read_qrels, read_run, write_qrels, write_run

__all__ = [
    "METRICS",
    "Collection",
    "EncodedDocuments",
    "MTEBModel",
    "ResultRow",
    "encode_documents",
    "format_table",
    "load_collection",
    "per_query",
    "read_qrels",
    "read_results",
    "read_run",
    "result_rows",
    "retrieve",
    "translation_retrieval",
    "write_qrels",
    "write_results",
    "write_run",
]
