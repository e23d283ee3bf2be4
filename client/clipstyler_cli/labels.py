"""Labels on pictures: a user's text in a font that is at hand, what that lacks spelled out; never an empty box."""

from __future__ import annotations

import unicodedata
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, lru_cache

from PIL import ImageDraw, ImageFont

Font = ImageFont.ImageFont | ImageFont.FreeTypeFont

# Pillow finds a font by the name of its file among those of the user and of the system.
_SYSTEM_FONTS = (
    # many scripts in one
    *("DejaVuSans.ttf", "NotoSans-Regular.ttf", "segoeui.ttf", "Arial Unicode.ttf"),
    # Chinese, Japanese, Korean
    *("NotoSansCJK-Regular.ttc", "NotoSansCJK-VF.ttc", "wqy-zenhei.ttc", "DroidSansFallbackFull.ttf"),
    *("msyh.ttc", "YuGothR.ttc", "malgun.ttf", "PingFang.ttc", "Hiragino Sans GB.ttc", "AppleSDGothicNeo.ttc"),
    # Arabic, India, South-East Asia
    *("NotoSansArabic-Regular.ttf", "NotoSansDevanagari-Regular.ttf", "NotoSansThai-Regular.ttf"),
    *("Nirmala.ttc", "Nirmala.ttf", "LeelawUI.ttf"),
    # symbols
    *("NotoSansSymbols2-Regular.ttf", "Symbola.ttf", "seguisym.ttf", "unifont.otf"),
)
_NO_CHARACTER = "\uffff"  # every font draws it as it draws what it lacks
_DRAWN_WITHOUT = ("COMBINING ", "VARIATION SELECTOR-")  # what they belong to is readable without them


@dataclass(frozen=True)
class Label:
    """A line of text as it can be drawn in a font."""

    text: str
    font: Font

    def draw(self, on: ImageDraw.ImageDraw, place: tuple[int, int], color: str) -> None:
        """Draw the line, its upper left corner at a place."""
        on.text(place, self.text, fill=color, font=self.font)


def label(text: str, size: int, room: int) -> Label:
    """Return a text as a line of letters of a size in pixels, shortened to the room for it."""
    line = unicodedata.normalize("NFC", " ".join(text.split()))
    font = _font_for(line, size)
    drawn = [_drawable(font, character) for character in line]
    if font.getlength(whole := "".join(drawn)) <= room:
        return Label(whole, font)
    dots = _drawable(font, "…")
    too_long = bisect_left(range(len(drawn)), True, key=lambda end: font.getlength("".join(drawn[:end]) + dots) > room)
    return Label("".join(drawn[: max(0, too_long - 1)]) + dots, font)


def _font_for(line: str, size: int) -> Font:
    """Return the first font that lacks nothing of a line, else the one that lacks least: mixed fonts break scripts."""
    best, fewest = None, len(line) + 1
    for font in _fonts(size):
        lacking = sum(_drawable(font, character) != character for character in line)
        if lacking < fewest:
            best, fewest = font, lacking
        if not fewest:
            break
    assert best is not None
    return best


def _fonts(size: int) -> Iterator[Font]:
    yield _bundled_font(size)
    for name in _SYSTEM_FONTS:
        if font := _system_font(name, size):
            yield font


@cache
def _bundled_font(size: int) -> Font:
    """Return Pillow's own font, which has ASCII and little else."""
    return ImageFont.load_default(size)


@cache
def _system_font(name: str, size: int) -> Font | None:
    try:
        return ImageFont.truetype(name, size)
    except OSError:
        return None


@lru_cache(maxsize=4096)
def _drawable(font: Font, character: str) -> str:
    """Return a character if a font has it, else what stands for it: its base letter, its name or its code point."""
    if not _is_missing(font, character):
        return character
    name = unicodedata.name(character, "")
    if unicodedata.category(character) == "Cf" or name.startswith(_DRAWN_WITHOUT):
        return ""
    plain = "".join(part for part in unicodedata.normalize("NFKD", character) if not unicodedata.combining(part))
    if plain and not any(_is_missing(font, part) for part in plain):
        return plain
    is_symbol = name and unicodedata.category(character)[0] not in "LM"
    return f"[{name.lower()}]" if is_symbol else f"[U+{ord(character):04X}]"


def _is_missing(font: Font, character: str) -> bool:
    return not character.isspace() and _shape(font, character) == _shape(font, _NO_CHARACTER)


def _shape(font: Font, character: str) -> tuple[tuple[int, int], bytes]:
    mask = _unshaped(font).getmask(character)
    return mask.size, bytes(mask)


@cache
def _unshaped(font: Font) -> Font:
    """Return a font that draws each character by itself: shaping adds a circle to a sign without its letter."""
    assert isinstance(font, ImageFont.FreeTypeFont)
    return font.font_variant(layout_engine=ImageFont.Layout.BASIC)
