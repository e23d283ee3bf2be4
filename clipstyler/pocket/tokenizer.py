"""A tokenizer without a vocabulary: words and their letter groups, hashed into a fixed number of buckets.

A misspelled or unseen word shares most letter groups with its relatives and is therefore close to them.
"""

from __future__ import annotations

import re
import unicodedata
import zlib
from collections.abc import Iterator, Sequence
from itertools import islice

import numpy as np
from numpy.typing import NDArray

BUCKETS = 32768
NAME = "clipstyler-pocket-1"
"""Names this way of cutting texts, in manifests of exported towers."""
MAX_TOKENS = 192
_GROUP_LENGTHS = (3, 4)
_WORD = re.compile(r"[^\W_]+")
# Carries no information about a look.
_FILLERS = frozenset({"a", "an", "the", "of", "in", "on", "with", "by", "and", "s"})


def words(sentence: str) -> Iterator[str]:
    """Yield the lower-case words of a sentence, accents removed, fillers such as "of" left out."""
    plain = unicodedata.normalize("NFKD", sentence.casefold())
    plain = "".join(character for character in plain if not unicodedata.combining(character))
    return (found[0] for found in _WORD.finditer(plain) if found[0] not in _FILLERS)


def buckets(word: str) -> Iterator[int]:
    """Yield the buckets of a word: of itself first, then of its groups of 3 and 4 letters, ends marked."""
    yield _hash("=" + word)
    marked = f"<{word}>"
    seen = set()
    for n in _GROUP_LENGTHS:
        for i in range(len(marked) - n + 1):
            group = marked[i : i + n]
            if group not in seen:
                seen.add(group)
                yield _hash(group)


def tokenize(sentences: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Tokenize sentences.

    Parameters
    ----------
    sentences
        Any texts; tokens after `MAX_TOKENS` are dropped.

    Returns
    -------
    Buckets, int64 (B, T), 0 being padding and 1 to `BUCKETS` - 1 hashes, and the word each token belongs to,
    int64 (B, T) from 1, 0 for padding. T is at least 1.
    """
    rows = [
        # Only what is kept is computed: one character of a text can stand for a word of eighteen.
        list(islice(((b, number) for number, word in enumerate(words(sentence), 1) for b in buckets(word)), MAX_TOKENS))
        for sentence in sentences
    ]
    length = max(1, max((len(row) for row in rows), default=1))
    table = np.zeros((len(rows), length, 2), np.int64)
    for i, row in enumerate(rows):
        if row:
            table[i, : len(row)] = row
    return table[..., 0], table[..., 1]


def _hash(token: str) -> int:
    return 1 + zlib.crc32(token.encode()) % (BUCKETS - 1)
