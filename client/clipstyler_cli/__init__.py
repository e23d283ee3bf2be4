"""The `clipstyler` command: stylise here or through a server, serve, look at models, show a demo."""
