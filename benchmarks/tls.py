"""Large products over TLS."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks import byteraces

if TYPE_CHECKING:
    import argparse

WORK = byteraces.Work(
    suite="tls",
    title="4 products of 512 MiB over TLS, 4 connections, MD5 checked",
    products=4,
    size=512 << 20,
    connections=4,
    goals={"aria2c": 1.4},
    tls=True,
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The suite's options."""
    byteraces.add_arguments(parser, WORK)


def run(arguments: argparse.Namespace) -> int:
    """Race; 0 where all goals are met."""
    return byteraces.run(arguments, WORK)
