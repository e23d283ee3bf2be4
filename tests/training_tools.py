"""What tests of the training recipes need."""

MISSING = 'needs SciPy, scikit-image and scikit-learn: pip install "clipstyler[training]"'
