"""Noise in queries, to see how far a student falls when people do not type like its bitext."""

from .noise import KINDS, NoisyQueries, add_noise, check_noise
from .words import strip_diacritics

__all__ = ["KINDS", "NoisyQueries", "add_noise", "check_noise", "strip_diacritics"]
