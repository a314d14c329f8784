"""The command-line interface: the only package that prints and runs the event loop."""

from noa_async.cli.program import main

__all__ = ["main"]
