"""Training of the `pocket` encoders: image generators, captions, losses, training loop and evaluation."""
