"""The gRPC service: a light front process that admits jobs and publishes events, and workers that compute."""
