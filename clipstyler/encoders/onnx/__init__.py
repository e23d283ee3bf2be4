"""Exported encoders: written once from PyTorch, run by ONNX Runtime without it.

An export is a directory: `manifest.json`, `image.onnx`, `text.onnx` and `content.onnx`, and for CLIP `tokenizer.json`.
"""

import os

# ONNX Runtime reads this when it is imported, which the modules of this package do.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
