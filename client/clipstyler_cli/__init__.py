"""The `clipstyler` command: stylize here or through a server, serve, look at models, show a demo."""
