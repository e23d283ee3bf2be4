"""Texts: their normal form and the prompt templates. No PyTorch here."""

from __future__ import annotations

import importlib.util
import re
import runpy
import unicodedata
from functools import cache
from pathlib import Path

from clipstyler.options import ConfigError, Violation

MAX_CHARACTERS = 500
"""Of a text, unless whoever checks it allows more."""
MOST_CHARACTERS = 10_000
"""That may be allowed."""
_LEADING_ARTICLE = re.compile(r"^(?:a|an|the)\s+(?=\S)", re.IGNORECASE)
# Letters and symbols without ink: fillers of Hangul, and the empty Braille pattern.
_BLANKS = frozenset("\u115f\u1160\u3164\uffa0\u2800")
# If the slot of a template takes a noun phrase with its own article: at its start, or after "of" or "in".
_SLOT_TAKES_ARTICLE = re.compile(r"(?:^|\b(?:of|in)\s+)\{\}")


def normalize(text: str) -> str:
    """Return the normal form of a text: Unicode NFC, single spaces, none at its ends."""
    return " ".join(unicodedata.normalize("NFC", text).split())


def check_texts(style_text: str, source_text: str, max_characters: int = MAX_CHARACTERS) -> tuple[str, str]:
    """Return both texts in normal form.

    Raises
    ------
    ConfigError
        Texts that are empty or too long or contain control characters, or both are the same (case aside), so that
        there is no direction from one to the other.
    """
    found: list[str] = []
    violations: list[Violation] = []
    for field, text in (("style_text", style_text), ("source_text", source_text)):
        try:
            found.append(check_text(field, text, max_characters))
        except ConfigError as error:
            violations.extend(error.violations)
    if violations:
        raise ConfigError.of(violations)
    style, source = found
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
        It is no text, empty or too long, or contains control characters; the error carries the field's name.
    """
    if not isinstance(text, str):
        raise ConfigError(field, f"must be a text, got {text!r}")
    _check_length(field, text, max_characters)
    normal = normalize(text)
    _check_length(field, normal, max_characters)  # NFC takes some characters apart
    if not normal:
        raise ConfigError(field, "is empty: describe a look, for instance 'a sketch with black pencil'")
    categories = {unicodedata.category(character) for character in normal}
    if "Cc" in categories:
        raise ConfigError(field, "contains control characters: use plain text")
    if "Cs" in categories:
        raise ConfigError(field, "contains characters that are not Unicode: use UTF-8")
    if not any(map(_is_visible, normal)):
        raise ConfigError(field, "contains only invisible characters: describe a look, for instance 'fire'")
    return normal


def _check_length(field: str, text: str, max_characters: int) -> None:
    if len(text) > max_characters:
        raise ConfigError(field, f"has {len(text)} characters, the limit is {max_characters}: shorten it")


def _is_visible(character: str) -> bool:
    """Return whether a character is drawn by itself; marks, format characters and fillers are not."""
    return unicodedata.category(character)[0] in "LNPS" and character not in _BLANKS


def shortened(text: str, most: int = 80) -> str:
    """Return the beginning of a long text, for a message."""
    return text if len(text) <= most else text[: most - 1] + "\u2026"


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
        There is no such set.
    """
    if template_set == "plain":
        return ("{}",)
    if template_set == "openai-imagenet":
        return _openai_imagenet()
    raise ConfigError("template_set", f"{template_set!r} is unknown: use 'openai-imagenet' or 'plain'")


@cache
def _openai_imagenet() -> tuple[str, ...]:
    """CLIP's 80 ImageNet templates (Radford et al., 2021), as open_clip has them.

    Only that file of open_clip is executed: importing the package would load PyTorch where it is not needed.
    """
    package = importlib.util.find_spec("open_clip")
    if package is None or package.origin is None:
        raise ModuleNotFoundError("open_clip is not installed", name="open_clip")
    file = Path(package.origin).with_name("zero_shot_metadata.py")
    lists = runpy.run_path(str(file))
    return tuple(template("{}") for template in lists["OPENAI_IMAGENET_TEMPLATES"])
