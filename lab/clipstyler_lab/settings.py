"""What a run of the laboratory works on: two scales, and the one object that states everything."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

from clipstyler.config import PRESETS, Preset
from clipstyler.options import ConfigError, Violation
from clipstyler.prompts import check_texts
from clipstyler_lab.gallery import Gallery
from clipstyler_lab.trials import Work

FIRST_SEED = 3
STYLES = Path(__file__).parent / "styles"
"""Drawn by this project: a folder for each look, named like it."""


class Scale(StrEnum):
    """Amount of work of a run; `SCALES` has the numbers."""

    SMALL = "small"
    PAPER = "paper"


class ScaleNumbers(NamedTuple):
    """The numbers of a scale: work of a stylization, seeds, and seeds of the consistency table."""

    work: Work
    seeds: int
    consistency_seeds: int


SCALES = {
    Scale.SMALL: ScaleNumbers(Work(160, 40, 12), seeds=2, consistency_seeds=4),
    Scale.PAPER: ScaleNumbers(Work(*PRESETS[Preset.PAPER]), seeds=3, consistency_seeds=8),
}
TEXTS = ("fire", "pencil sketch", "stained glass")


@dataclass(frozen=True)
class LabSettings:
    """Everything that determines the tables, apart from the encoders.

    Attributes
    ----------
    photos
        Files by the name that tables show.
    texts
        Style texts.
    work
        Of every stylization, unless an experiment varies it.
    seeds, consistency_seeds
        How many seeds, from `FIRST_SEED` on.
    styles
        Folder with a folder of pictures for each look: style images and labeled images.

    Raises
    ------
    ConfigError
        Values that cannot be used: all of them in one error.
    """

    photos: dict[str, Path]
    texts: tuple[str, ...]
    work: Work
    seeds: int
    consistency_seeds: int
    styles: Path = STYLES

    def __post_init__(self) -> None:
        violations = [
            Violation("photo", f"{str(path)!r} is no file: name an image")
            for path in self.photos.values()
            if not path.is_file()
        ]
        for text in self.texts:
            try:
                check_texts(text, "a Photo")
            except ConfigError as error:
                violations += [Violation("text", problem) for _, problem in error.violations]
        if not self.styles.is_dir() or not Gallery(self.styles).files:
            problem = f"{str(self.styles)!r} holds no folders of pictures, one for each look"
            violations.append(Violation("styles", problem))
        for name in ("seeds", "consistency_seeds"):
            least = 2 if name == "consistency_seeds" else 1
            if getattr(self, name) < least:
                violations.append(Violation(name, f"must be at least {least}, got {getattr(self, name)}"))
        if violations:
            raise ConfigError.of(violations)

    @property
    def seed_numbers(self) -> range:
        """The seeds of most experiments."""
        return range(FIRST_SEED, FIRST_SEED + self.seeds)

    @property
    def consistency_seed_numbers(self) -> range:
        """The seeds of the consistency table."""
        return range(FIRST_SEED, FIRST_SEED + self.consistency_seeds)
