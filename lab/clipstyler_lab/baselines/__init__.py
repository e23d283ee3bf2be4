"""Other methods, each one small function: they change pixels, colors or the terms of the loss."""
