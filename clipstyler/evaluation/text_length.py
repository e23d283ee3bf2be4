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
    """Return the end of a text that the encoders do not read; empty if they read all of it.

    It is found without knowing the encoders' limit: their tokens stay the same whether or not it is there.

    Parameters
    ----------
    tokenize
        Of the encoders.
    text
        In normal form.
    template_set
        Prompt templates that the text goes through; the one that leaves the least room decides.
    """
    if len(text.encode()) <= _SHORT_BYTES or not tokenize([text]):
        return ""
    cut = [template for template in templates(template_set) if _is_cut(tokenize, template, text)]
    if not cut:
        return ""
    longest = max(cut, key=len)
    whole = _tokens(tokenize, longest, text)
    read = bisect_left(range(len(text)), True, key=lambda size: _tokens(tokenize, longest, text[:size]) == whole)
    return text[read:].strip()


def _is_cut(tokenize: Tokenize, template: str, text: str) -> bool:
    return _tokens(tokenize, template, text) == _tokens(tokenize, template, text + _ONE_MORE)


def _tokens(tokenize: Tokenize, template: str, text: str) -> list[bytes]:
    return [np.asarray(part).tobytes() for part in tokenize([fill_template(template, text)])]
