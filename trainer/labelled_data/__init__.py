"""Labelled queries and passages: files, data sets of the Hub, collections; texts or ids."""

from .loading import LabelledDataset, LabelledReport, load_labelled, split_labelled
from .sources import LabelledSource, TextTable

__all__ = ["LabelledDataset", "LabelledReport", "LabelledSource", "TextTable", "load_labelled", "split_labelled"]
