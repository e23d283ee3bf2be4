"""Tokenizes sentences for exported text towers, without PyTorch."""

from __future__ import annotations

import gzip
import html
import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clipstyler.encoders.onnx.manifest import BrokenExportError, Tokenizer

Tokenize = Callable[[Sequence[str]], tuple[NDArray[Any], ...]]

CLIP_BPE = "clip-bpe"
FILE = "tokenizer.json"
_END = "</w>"
_START_OF_TEXT, _END_OF_TEXT = "<start_of_text>", "<end_of_text>"
# How CLIP splits a text before merging (Radford et al., `simple_tokenizer.py`).
_PIECES = r"<start_of_text>|<end_of_text>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
_VOCABULARY = 49152 - 256 - 2


def load(tokenizer: Tokenizer, directory: Path) -> Tokenize:
    """Load the tokenizer that a manifest describes.

    Raises
    ------
    BrokenExportError
        Its kind is unknown.
    """
    from clipstyler.pocket import tokenizer as pocket  # one of several

    if tokenizer.kind == pocket.NAME:
        return pocket.tokenize
    if tokenizer.kind == CLIP_BPE:
        return _clip_bpe(directory / tokenizer.file, tokenizer.context_length)
    raise BrokenExportError(f"tokenizer {tokenizer.kind!r} is unknown to this version: export again")


def _clip_bpe(file: Path, context_length: int) -> Tokenize:
    import regex  # these are CLIP's only
    from ftfy import fix_text
    from tokenizers import Tokenizer as Fast

    # Split here and not by the `tokenizers` library, whose Unicode tables are of another version.
    pieces = regex.compile(_PIECES, regex.IGNORECASE)
    merges = Fast.from_file(str(file))
    ids = merges.get_vocab()
    start, end = ids[_START_OF_TEXT], ids[_END_OF_TEXT]

    def tokenize(sentences: Sequence[str]) -> tuple[NDArray[np.int64]]:
        table = np.zeros((len(sentences), context_length), np.int64)
        for row, sentence in zip(table, sentences, strict=True):
            # CLIP repairs broken encodings and HTML first, and truncates so that the end token remains.
            plain = html.unescape(html.unescape(fix_text(sentence))).strip()
            words = pieces.findall(" ".join(plain.split()).lower())
            cut = [start, *merges.encode(words, is_pretokenized=True).ids][: context_length - 1]
            row[: len(cut) + 1] = [*cut, end]
        return (table,)

    return tokenize


def write_clip_bpe(directory: Path) -> Path:
    """Write CLIP's merges and vocabulary, which open_clip includes, in the format of the `tokenizers` library."""
    from tokenizers import Tokenizer as Fast
    from tokenizers import models, pre_tokenizers

    package = importlib.util.find_spec("open_clip")
    if package is None or package.origin is None:
        raise ModuleNotFoundError("open_clip is not installed", name="open_clip")
    lines = gzip.decompress((Path(package.origin).parent / "bpe_simple_vocab_16e6.txt.gz").read_bytes()).decode()
    merges = [(first, second) for first, second in map(str.split, lines.split("\n")[1 : _VOCABULARY + 1])]
    letters = _byte_letters()
    words = [*letters, *(letter + _END for letter in letters), *("".join(pair) for pair in merges)]
    vocabulary = {word: number for number, word in enumerate([*words, _START_OF_TEXT, _END_OF_TEXT])}
    fast = Fast(models.BPE(vocabulary, merges, end_of_word_suffix=_END))
    fast.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    fast.add_special_tokens([_START_OF_TEXT, _END_OF_TEXT])
    path = directory / FILE
    fast.save(str(path))
    return path


def _byte_letters() -> list[str]:
    """Return a printable letter for each byte, in the order of CLIP's vocabulary."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = 256 - len(printable)
    return [*map(chr, printable), *(chr(256 + number) for number in range(others))]
