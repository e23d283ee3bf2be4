"""Exported encoders: written once from PyTorch, run by ONNX Runtime without it.

An export is a directory: `manifest.json`, `image.onnx`, `text.onnx` and `content.onnx`, and for CLIP `tokenizer.json`.
"""
