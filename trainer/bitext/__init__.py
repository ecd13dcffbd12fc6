"""Bitext: pairs of sentences that translate each other, read, cleaned, checked, mixed, shortened and split."""

from .files import BitextFile
from .languages import LanguageDetector, expected_scripts, script_share
from .loading import Cleaning, clean_pairs, load_bitext
from .mixing import check_temperature, language_shares, mix_languages
from .mixture import MixtureOptions, check_groups, draw_mixture
from .near_duplicates import NearDuplicateIndex, NearDuplicateOptions
from .report import BitextReport
from .shortening import KeptOut, ShorteningOptions, add_short_pairs, shorten
from .sources import BitextSource
from .splitting import fingerprint, split_bitext
from .streaming import StreamingOptions, sample_bitext, stream_bitext

__all__ = [
    "BitextFile",
    "BitextReport",
    "BitextSource",
    "Cleaning",
    "KeptOut",
    "LanguageDetector",
    "MixtureOptions",
    "NearDuplicateIndex",
    "NearDuplicateOptions",
    "ShorteningOptions",
    "StreamingOptions",
    "add_short_pairs",
    "check_groups",
    "check_temperature",
    "clean_pairs",
    "draw_mixture",
    "expected_scripts",
    "fingerprint",
    "language_shares",
    "load_bitext",
    "mix_languages",
    "sample_bitext",
    "script_share",
    "shorten",
    "split_bitext",
    "stream_bitext",
]
