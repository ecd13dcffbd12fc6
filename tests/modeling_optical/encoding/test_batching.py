"""Streams in lists of a bounded length."""

import itertools

import pytest

from modeling_optical.encoding.batching import batched


def test_items_keep_their_order_and_the_last_list_is_what_is_left():
    assert list(batched(range(7), 3)) == [[0, 1, 2], [3, 4, 5], [6]]
    assert list(batched([], 3)) == []


def test_nothing_is_read_ahead():
    numbers = itertools.count()
    assert next(batched(numbers, 4)) == [0, 1, 2, 3]
    assert next(numbers) == 4


def test_a_size_below_one_is_refused():
    with pytest.raises(ValueError, match="size is 0"):
        next(batched([1], 0))
