"""Labels on pictures: every text is readable with the fonts at hand, and nothing is drawn as an empty box."""

import io

import numpy as np
import pytest
from clipstyler_cli import labels
from clipstyler_cli.artifacts import sheet_of
from clipstyler_cli.labels import Label, label
from PIL import Image, ImageDraw, features

SIZE, ROOM = 22, 2000
FAMILY = "\N{MAN}\N{ZERO WIDTH JOINER}\N{WOMAN}\N{ZERO WIDTH JOINER}\N{GIRL}"
LONG = ["fire " * 3000, "\N{FIRE}" * 3000, "水" * 3000, "שלום " * 3000, "x\N{COMBINING CIRCUMFLEX ACCENT}" * 3000]

needs_dejavu = pytest.mark.skipif(
    labels._system_font("DejaVuSans.ttf", SIZE) is None, reason="DejaVu Sans is not installed"
)
needs_shaping = pytest.mark.skipif(not features.check("raqm"), reason="Pillow has no Raqm here")


@pytest.fixture
def bare(monkeypatch):
    """A system without fonts: only Pillow's own is at hand, which has ASCII."""
    monkeypatch.setattr(labels, "_SYSTEM_FONTS", ())


def drawn(made: Label) -> np.ndarray:
    """Draw a label, and return where its ink is."""
    image = Image.new("L", (ROOM, 3 * SIZE))
    made.draw(ImageDraw.Draw(image), (0, SIZE), "white")
    return np.asarray(image) > 0


@pytest.mark.usefixtures("bare")
@pytest.mark.parametrize(
    ("text", "readable"),
    [
        ("fire & ice", "fire & ice"),
        ("\N{FIRE} fire", "[fire] fire"),
        ("\N{HEAVY BLACK HEART}\N{VARIATION SELECTOR-16}", "[heavy black heart]"),
        (f"{FAMILY} portrait", "[man][woman][girl] portrait"),
        ("1\N{VARIATION SELECTOR-16}\N{COMBINING ENCLOSING KEYCAP}", "1"),
        ("水墨", "[U+6C34][U+58A8]"),
        ("שמן", "[U+05E9][U+05DE][U+05DF]"),
        ("तं", "[U+0924][U+0902]"),
        ("café", "cafe"),
        ("cafe\N{COMBINING ACUTE ACCENT}", "cafe"),
        ("x\N{COMBINING CIRCUMFLEX ACCENT}", "x"),
        ("Ⅳ ﬁre", "IV ﬁre"),
        ("\U000f0000", "[U+F0000]"),
        (" two\nlines\tand\N{NO-BREAK SPACE}more ", "two lines and more"),
        ("", ""),
    ],
)
def test_what_the_font_lacks_is_spelled_out(text, readable):
    assert label(text, SIZE, ROOM).text == readable


@pytest.mark.usefixtures("bare")
def test_an_empty_box_is_drawn_for_nothing():
    font = labels._bundled_font(SIZE)
    box = font.getmask("\N{FIRE}").getbbox()
    assert box, "else this font shows nothing for what it lacks, and the others prove nothing"
    for text in ("\N{FIRE} 水 ש é त", FAMILY, "a\N{COMBINING ACUTE ACCENT}"):
        for character in label(text, SIZE, ROOM).text:
            assert not labels._is_missing(font, character)


@needs_dejavu
@pytest.mark.parametrize("text", ["Ångström", "Живопись", "ציור שמן", "زخرفة", "x\N{COMBINING CIRCUMFLEX ACCENT}"])
def test_a_font_of_the_system_draws_what_the_bundled_one_lacks(monkeypatch, text):
    monkeypatch.setattr(labels, "_SYSTEM_FONTS", ("no-such-font.ttf", "DejaVuSans.ttf"))
    made = label(text, SIZE, ROOM)
    assert made.text == text
    assert made.font.getname()[0] == "DejaVu Sans"


@needs_dejavu
def test_the_font_that_lacks_least_is_taken_for_the_whole_line(monkeypatch):
    monkeypatch.setattr(labels, "_SYSTEM_FONTS", ("DejaVuSans.ttf",))
    assert label("огонь \N{FIRE}", SIZE, ROOM).text == "огонь [fire]"
    assert label("\N{FIRE} fire", SIZE, ROOM).font.getname()[0] == "Aileron"


@needs_dejavu
@needs_shaping
def test_text_from_right_to_left_begins_on_the_right(monkeypatch):
    monkeypatch.setattr(labels, "_SYSTEM_FONTS", ("DejaVuSans.ttf",))
    columns = drawn(label("שווו", SIZE, ROOM)).sum(axis=0)
    width = int(columns.nonzero()[0].max()) + 1
    assert columns[width // 2 : width].sum() > 1.5 * columns[: width // 2].sum()


@needs_dejavu
def test_a_letter_looks_the_same_in_one_part_or_two(monkeypatch):
    monkeypatch.setattr(labels, "_SYSTEM_FONTS", ("DejaVuSans.ttf",))
    whole, parts = (drawn(label(text, SIZE, ROOM)) for text in ("é", "e\N{COMBINING ACUTE ACCENT}"))
    assert whole.any()
    np.testing.assert_array_equal(whole, parts)


@pytest.mark.parametrize("text", LONG)
@pytest.mark.parametrize("room", [0, 100, 256])
def test_a_line_is_shortened_to_its_room(text, room):
    made = label(text, SIZE, room)
    assert made.font.getlength(made.text) <= max(room, made.font.getlength("…"))
    assert made.text.endswith("…")


@pytest.mark.usefixtures("bare")
def test_a_spelled_out_character_is_not_cut():
    assert label("\N{FIRE}" * 20, SIZE, 200).text == "[fire]" * 4 + "…"


def test_a_sheet_takes_captions_and_titles_of_several_lines():
    photo = io.BytesIO()
    Image.new("RGB", (8, 8)).save(photo, format="PNG")
    sheet = sheet_of("one\ntwo", [("three\nfour.png", photo.getvalue())])
    assert Image.open(io.BytesIO(sheet)).width == 16 + 256 + 16
