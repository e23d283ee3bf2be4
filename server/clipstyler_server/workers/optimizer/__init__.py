"""The optimizer process: PyTorch, owns a device, runs one task at a time."""
