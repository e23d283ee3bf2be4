"""Worker processes: the engine interface, supervision, and the optimizer, evaluator and decoder."""
