"""The optimizer process: PyTorch, owns a device, runs one task or several in turns."""
