"""A few of many: evenly spaced, of a list or of a stream that is never held as a whole."""

from __future__ import annotations

import itertools

import pytest

from clipstyler.sampling import EvenSample, evenly


def test_the_chosen_are_spread_over_all() -> None:
    items = list(range(10))
    assert evenly(items, 16) == items
    assert evenly(items, 2) == [2, 7]
    assert evenly(items, 3) == [1, 5, 8]


@pytest.mark.parametrize("length", [1, 3, 4, 7, 8, 9, 100, 1000])
def test_a_sample_of_a_stream_is_spread_and_small(length: int) -> None:
    sample = EvenSample[int](4)
    for number in range(length):
        sample.add(number)
        assert len(sample._held) <= 8
    chosen = sample.chosen()
    assert len(chosen) == min(4, length)
    assert chosen == sorted(set(chosen))
    if length >= 8:
        gaps = [after - before for before, after in itertools.pairwise(chosen)]
        assert max(gaps) <= 2 * min(gaps)
        assert chosen[0] < length / 4
        assert chosen[-1] >= length / 2
