"""Exported encoders: written once from PyTorch, run by ONNX Runtime without it.

An export is a directory: `manifest.json`, `image.onnx`, `text.onnx` and, where the content encoder is a network of its
own, `content.onnx`.
"""
