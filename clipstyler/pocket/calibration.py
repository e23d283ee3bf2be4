"""What the numbers of the `pocket` encoders mean. No PyTorch here; `docs/pocket.md` says how they were found."""

from clipstyler.config import Calibration

CALIBRATION = Calibration(
    threshold=0.03,
    learning_rate=2e-3,
    crop_fraction=0.32,
    weight_direction=1500.0,
    weight_content=40.0,
    weight_tv_norm=1e-3,
    weight_tv_squared=2.5e-5,
    contrast=1.0,
    template_set="plain",
)
