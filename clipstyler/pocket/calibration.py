"""Calibration of the `pocket` encoders. No PyTorch here; `docs/pocket.md` describes how it was determined."""

from clipstyler.config import Border, Calibration, Start, TemplateSet

CALIBRATION = Calibration(
    threshold=0.03,
    learning_rate=1e-3,
    crop_fraction=0.32,
    crop_overhang=0.5,
    border=Border.MIRROR,
    text_share=0.6,
    distinctness=0.4,
    input_noise=0.02,
    noise_octaves=6,
    start=Start.PHOTO,
    weak_patch_loss=0.33,
    logit_scale=20.0,
    weight_direction=1500.0,
    weight_content=435.0,
    weight_tv_norm=1e-3,
    weight_tv_squared=2.5e-5,
    contrast=1.0,
    template_set=TemplateSet.PLAIN,
)
