"""The laboratory: the paper's tables and figures, made with whichever encoders are at hand.

`clipstyler lab` runs it. `experiments/` states what is run and what is shown, `baselines/` has the other methods,
`report/` writes Markdown, JSON and a page. It uses the library's losses, metrics and imaging, nothing of the server.
"""
