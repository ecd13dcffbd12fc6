"""A vocabulary for a language that the backbone spells in fragments."""

from .adaptation import (
    REPORT_FILE,
    TABLE_FILE,
    adapt_vocabulary,
    save_vocabulary_record,
    tokens_per_word,
    vocabulary_provenance,
)
from .alignment import agreed_translations, ibm_model_1
from .options import VocabularyOptions, VocabularyReport
from .pieces import unknown_share
from .tokenizer_extension import extend_tokenizer
from .tokenizer_training import train_tokenizer
from .translation_table import TranslationTable, tokenizer_fingerprint, translation_table
from .trimming import trim_tokenizer
from .word_translations import word_translation_table, word_translations

__all__ = [
    "REPORT_FILE",
    "TABLE_FILE",
    "TranslationTable",
    "VocabularyOptions",
    "VocabularyReport",
    "adapt_vocabulary",
    "agreed_translations",
    "extend_tokenizer",
    "ibm_model_1",
    "save_vocabulary_record",
    "tokenizer_fingerprint",
    "tokens_per_word",
    "train_tokenizer",
    "translation_table",
    "trim_tokenizer",
    "unknown_share",
    "vocabulary_provenance",
    "word_translation_table",
    "word_translations",
]
