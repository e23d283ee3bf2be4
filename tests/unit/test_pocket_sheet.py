"""The sheet of calibrations on trial reads its options before it stylizes anything."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from clipstyler.config import Border
from clipstyler.pocket.calibration import CALIBRATION
from training.pocket import sheet


@pytest.mark.parametrize(
    ("flags", "problem"),
    [
        (["--vary", "threshold"], "threshold has no values to try"),
        (["--vary", "warmth", "1"], "is no field of the calibration"),
        (["--set", "threshold", "little"], "could not convert"),
        (["--set", "crop_fraction", "7"], "crop_fraction"),
        (["--out", "missing/sheet.png"], "missing does not exist"),
    ],
)
def test_what_cannot_be_tried_is_an_error(
    flags: list[str], problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        sheet.main(flags)
    assert ended.value.code == 2
    assert problem in capsys.readouterr().err


def test_every_kind_of_field_can_be_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("torch.set_num_threads", lambda _: None)
    photo = tmp_path / "photo.png"
    Image.new("RGB", (64, 64), "teal").save(photo)
    tried = []

    def encoders(_weights: Path, calibration: object) -> object:
        tried.append(calibration)
        return built(_weights, calibration)

    built = sheet.encoders
    monkeypatch.setattr(sheet, "encoders", encoders)
    flags = ["--photo", str(photo), "--texts", "fire", "--size", "64", "--steps", "1", "--set", "border", "zero"]
    sheet.main([*flags, "--vary", "noise_octaves", "1", "2"])

    assert [(one.noise_octaves, one.border) for one in tried] == [(1, Border.ZERO), (2, Border.ZERO)]
    assert tried[0].threshold == CALIBRATION.threshold
    assert Image.open("sheet.png").size == (2 * 224, 2 * 224)
