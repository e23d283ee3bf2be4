"""Texts that are longer than the encoders read: which part of them has no effect."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from clipstyler.prompts import fill_template, templates

Tokenize = Callable[[Sequence[str]], Sequence[NDArray[np.int64]]]
"""Makes the text tower's inputs, one row per sentence; what does not fit is cut."""

# A text of fewer bytes has fewer tokens than any encoder reads, templates included.
_SHORT_BYTES = 48
_ONE_MORE = " zebra"


def ignored_part(tokenize: Tokenize, text: str, template_set: str) -> str:
    """Return the end of a text that the encoders do not read; see `ignored_parts`."""
    return ignored_parts(tokenize, [text], template_set)[0]


def ignored_parts(tokenize: Tokenize, texts: Sequence[str], template_set: str) -> list[str]:
    """Return the ends of texts that the encoders do not read; empty for each text of which they read everything.

    They are found without knowing the encoders' limit: their tokens stay the same whether or not the end is there.

    Parameters
    ----------
    tokenize
        Of the encoders.
    texts
        In normal form.
    template_set
        Prompt templates that the texts go through; the one that leaves the least room decides.
    """
    long = {text for text in texts if len(text.encode()) > _SHORT_BYTES}
    if not long or not tokenize([max(long)]):
        return ["" for _ in texts]
    longest_first = sorted(templates(template_set), key=len, reverse=True)
    # What fits into the one with the most tokens before it fits into all: no need to try them for each text.
    fullest = max(longest_first, key=lambda template: _size(tokenize, template))
    return [_ignored(tokenize, text, fullest, longest_first) if text in long else "" for text in texts]


def _ignored(tokenize: Tokenize, text: str, fullest: str, longest_first: Sequence[str]) -> str:
    if not _is_cut(tokenize, fullest, text):
        return ""
    longest = next(template for template in longest_first if _is_cut(tokenize, template, text))
    whole = _tokens(tokenize, longest, text)
    read = bisect_left(range(len(text)), True, key=lambda size: _tokens(tokenize, longest, text[:size]) == whole)
    return text[read:].strip()


def _size(tokenize: Tokenize, template: str) -> int:
    """Return how many tokens a template puts before a text, as far as it is needed to compare: without padding."""
    (row,) = tokenize([template.partition("{}")[0]])[0]
    return int(np.flatnonzero(row != row[-1]).max(initial=0))


def _is_cut(tokenize: Tokenize, template: str, text: str) -> bool:
    return _tokens(tokenize, template, text) == _tokens(tokenize, template, text + _ONE_MORE)


def _tokens(tokenize: Tokenize, template: str, text: str) -> list[bytes]:
    return [np.asarray(part).tobytes() for part in tokenize([fill_template(template, text)])]
