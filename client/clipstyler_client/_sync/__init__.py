"""The client, generated from `_async` by `scripts/generate_sync_client.py`."""
