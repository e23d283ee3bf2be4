"""The gRPC service: a light front process that admits and tells, and processes of their own that compute."""
