"""The evaluator process: ONNX Runtime; embeddings, text directions, classification and quality reports."""
