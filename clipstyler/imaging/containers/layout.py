"""How the pixels of a TIFF are stored, as its tags declare it."""

from __future__ import annotations

from dataclasses import dataclass

_FORMATS = {1: "unsigned", 2: "signed", 3: "floating-point"}
_PHOTOMETRIC = {0: "gray", 1: "gray", 2: "RGB", 3: "palette", 4: "mask", 5: "CMYK", 6: "YCbCr", 8: "LAB", 9: "LAB"}


@dataclass(frozen=True)
class Layout:
    """Declared format of the pixels of a TIFF.

    Attributes
    ----------
    bits, sample_format
        Of a sample: depth, and 1 (unsigned), 2 (signed) or 3 (floating-point).
    samples
        Samples in a pixel.
    photometric, compression
        Numbers of the TIFF specification.
    orientation
        1 to 8, as in EXIF.
    white_is_zero
        The gray values, as Pillow is made to read them, have to be inverted.
    swapped
        libtiff returns the samples in the byte order of the machine, which is not that of the file.
    """

    bits: int
    sample_format: int
    samples: int
    photometric: int
    compression: int
    orientation: int = 1
    white_is_zero: bool = False
    swapped: bool = False

    @property
    def description(self) -> str:
        """The format in words, to name it in a refusal."""
        colors = _PHOTOMETRIC.get(self.photometric, f"photometric {self.photometric}")
        numbers = _FORMATS.get(self.sample_format, f"sample format {self.sample_format}")
        return f"{self.bits}-bit {numbers} {colors} with {self.samples} samples (compression {self.compression})"
