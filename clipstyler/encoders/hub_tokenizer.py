"""Tokenizers of open_clip's architectures: some, such as SigLIP's, are files of the Hugging Face hub."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import open_clip

from clipstyler.encoders.base import EncoderUnavailableError
from clipstyler.encoders.weights.store import Store

FOLDER = "tokenizers"
"""Where they are kept, in the directory of weights."""


def name_of(architecture: str) -> str:
    """Return the name of an architecture's tokenizer on the hub; empty if open_clip includes it."""
    configuration = open_clip.get_model_config(architecture) or {}
    return str(configuration.get("text_cfg", {}).get("hf_tokenizer_name", ""))


def load(architecture: str, store: Store) -> Any:
    """Load the tokenizer of an architecture: one that is here, in the store or the user's own cache, or from the hub.

    Raises
    ------
    EncoderUnavailableError
        It is not here and cannot be downloaded, or a library that it needs is missing.
    """
    name, kept = name_of(architecture), store.root / FOLDER
    if not name:
        return open_clip.get_tokenizer(architecture)
    wanted = f"{architecture}: its tokenizer, {name} of the Hugging Face hub,"
    try:
        for cache in (str(kept), None):
            with suppress(OSError):
                return open_clip.get_tokenizer(architecture, cache_dir=cache, local_files_only=True)
        if not store.offline:
            return open_clip.get_tokenizer(architecture, cache_dir=str(kept))
    except ModuleNotFoundError as error:
        raise EncoderUnavailableError(f"{wanted} needs `pip install {error.name}`") from error
    except Exception as error:  # transformers and the hub's library raise many kinds
        raise EncoderUnavailableError(f"{wanted} cannot be loaded: {error}; {_ADVICE}, to {kept}") from error
    raise EncoderUnavailableError(f"{wanted} is not here, and offline mode is on; {_ADVICE}, to {kept}")


_ADVICE = (
    f"run `clipstyler models pull NAME` where the hub can be reached, and copy the folder {FOLDER!r} of its weights"
)
