"""Authenticate with the service: credentials, and one access token shared by all workers."""
