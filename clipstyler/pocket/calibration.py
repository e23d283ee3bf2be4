"""What the numbers of the `pocket` encoders mean. No PyTorch here."""

from clipstyler.config import Calibration

CALIBRATION = Calibration(threshold=0.3, learning_rate=1e-3, contrast=1.0, template_set="plain")
