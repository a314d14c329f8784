"""Fetching one product: decide, stream, hash, check."""
