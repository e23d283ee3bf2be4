"""Texts: their normal form, the prompt templates, and the direction in which a style text moves an image.

Only `text_direction` needs PyTorch, and imports it when it is called.
"""

from __future__ import annotations

import importlib.util
import re
import runpy
import unicodedata
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from clipstyler.config import ConfigError

if TYPE_CHECKING:
    from torch import Tensor

    from clipstyler.encoders.base import ClipEncoder

MAX_CHARACTERS = 500
_LEADING_ARTICLE = re.compile(r"^(?:a|an|the)\s+(?=\S)", re.IGNORECASE)
# Where the slot of a template takes a noun phrase with its own article: at its start, or after "of" or "in".
_SLOT_TAKES_ARTICLE = re.compile(r"(?:^|\b(?:of|in)\s+)\{\}")
# Embeddings of unit length this close are one text written twice.
_SMALLEST_DIRECTION = 1e-3


def normalize(text: str) -> str:
    """Return the normal form of a text: Unicode NFC, single spaces, none at its ends."""
    return " ".join(unicodedata.normalize("NFC", text).split())


def check_texts(style_text: str, source_text: str, max_characters: int = MAX_CHARACTERS) -> tuple[str, str]:
    """Return both texts in normal form.

    Raises
    ------
    ConfigError
        A text is empty or too long, holds control characters, or both are the same (case aside), so that there
        is no direction from one to the other.
    """
    style = check_text("style_text", style_text, max_characters)
    source = check_text("source_text", source_text, max_characters)
    if style.casefold() == source.casefold():
        raise ConfigError(
            "style_text",
            f"is the same as the source text {source!r}, so there is no direction to move in: describe another look",
        )
    return style, source


def check_text(field: str, text: str, max_characters: int = MAX_CHARACTERS) -> str:
    """Return one text in normal form.

    Raises
    ------
    ConfigError
        It is empty or too long, or holds control characters; the error bears the field's name.
    """
    if len(text) > max_characters:
        raise ConfigError(field, f"has {len(text)} characters, the limit is {max_characters}: shorten it")
    normal = normalize(text)
    if not normal:
        raise ConfigError(field, "is empty: describe a look, for instance 'a sketch with black pencil'")
    if any(unicodedata.category(character) == "Cc" for character in normal):
        raise ConfigError(field, "holds control characters: use plain text")
    return normal


def fill_template(template: str, text: str) -> str:
    """Put a text into the `{}` of a template without doubling its article.

    "a bad photo of a {}." with "a Photo" gives "a bad photo of a Photo."; the authors' code writes "a a Photo".
    """
    if not _SLOT_TAKES_ARTICLE.search(template):
        text = _LEADING_ARTICLE.sub("", text)
    return template.replace("{}", text)


def templates(template_set: str) -> tuple[str, ...]:
    """Return the templates of a set, each with one `{}`.

    Raises
    ------
    ConfigError
        There is no set of that name.
    """
    if template_set == "plain":
        return ("{}",)
    if template_set == "openai-imagenet":
        return _openai_imagenet()
    raise ConfigError("template_set", f"{template_set!r} is unknown: use 'openai-imagenet' or 'plain'")


@cache
def _openai_imagenet() -> tuple[str, ...]:
    """CLIP's 80 ImageNet templates (Radford et al., 2021), as open_clip has them.

    Only that file of open_clip is run: importing the package would bring PyTorch into processes that do without.
    """
    package = importlib.util.find_spec("open_clip")
    if package is None or package.origin is None:
        raise ModuleNotFoundError("open_clip is not installed", name="open_clip")
    file = Path(package.origin).with_name("zero_shot_metadata.py")
    lists = runpy.run_path(str(file))
    return tuple(template("{}") for template in lists["OPENAI_IMAGENET_TEMPLATES"])


def embed_text(clip: ClipEncoder, text: str, template_set: str) -> Tensor:
    """Embed a text: the normalized mean of the raw embeddings of all its sentences, shape (D,).

    Source: the prompt ensembling of CLIP as the CLIPstyler code applies it (mean first, then normalized).
    """
    import torch  # noqa: PLC0415 - keeps this module light
    from torch.nn import functional as F  # noqa: PLC0415

    sentences = [fill_template(template, text) for template in templates(template_set)]
    with torch.no_grad():
        return F.normalize(clip.encode_text(sentences).float().mean(dim=0), dim=0)


def text_direction(clip: ClipEncoder, style_text: str, source_text: str, template_set: str) -> Tensor:
    """Direction dT = E_T(style) - E_T(source), float32 of shape (D,) (CLIPstyler, section 3.2).

    Raises
    ------
    ConfigError
        To these encoders both texts mean the same.
    """
    direction = embed_text(clip, style_text, template_set) - embed_text(clip, source_text, template_set)
    if float(direction.norm()) < _SMALLEST_DIRECTION:
        raise ConfigError(
            "style_text",
            f"means the same as the source text {source_text!r} to the encoders {clip.name!r}: describe another look",
        )
    return direction
