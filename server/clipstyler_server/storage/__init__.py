"""Storage: the database of jobs, images as blobs, retention and migrations."""
