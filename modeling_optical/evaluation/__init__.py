"""Collections, metrics with intervals, references, comparison of runs, TREC runs, the results file, and mteb."""

from .collections import Collection, Corpus, StreamedCorpus, load_collection, texts_of
from .evaluator import Evaluator
from .languages import LanguageSummary, format_summaries, summarise_languages, write_summaries
from .metrics import METRICS, UNJUDGED, UNJUDGED_MEANS, per_query, translation_retrieval, unjudged_share
from .mteb_model import MTEBModel
from .results import NotRun, ResultRow, format_table, read_results, result_rows, write_results
from .retrieval import EncodedDocuments, encode_corpus_in_memory, retrieve, retrieve_streaming
from .significance import PairedComparison, compare_paired, holm
from .trec import read_qrels, read_run, save_run, write_qrels, write_run

__all__ = [
    "METRICS",
    "UNJUDGED",
    "UNJUDGED_MEANS",
    "Collection",
    "Corpus",
    "EncodedDocuments",
    "Evaluator",
    "LanguageSummary",
    "MTEBModel",
    "NotRun",
    "PairedComparison",
    "ResultRow",
    "StreamedCorpus",
    "compare_paired",
    "encode_corpus_in_memory",
    "format_summaries",
    "format_table",
    "holm",
    "load_collection",
    "per_query",
    "read_qrels",
    "read_results",
    "read_run",
    "result_rows",
    "retrieve",
    "retrieve_streaming",
    "save_run",
    "summarise_languages",
    "texts_of",
    "translation_retrieval",
    "unjudged_share",
    "write_qrels",
    "write_results",
    "write_run",
    "write_summaries",
]
