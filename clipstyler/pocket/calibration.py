"""What the numbers of the `pocket` encoders mean. No PyTorch here; `docs/pocket.md` says how they were found."""

from clipstyler.config import Calibration

CALIBRATION = Calibration(
    threshold=0.05,
    learning_rate=1e-3,
    crop_fraction=0.375,
    weight_content=10.0,
    contrast=1.0,
    template_set="plain",
)
