"""`pocket`: the embedded default encoders, trained by this project."""
