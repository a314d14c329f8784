"""Small products: what each one costs beside its bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks import byteraces

if TYPE_CHECKING:
    import argparse

WORK = byteraces.Work(
    suite="small",
    title="6,000 products of 100 KiB, 16 connections, MD5 checked",
    products=6000,
    size=100 << 10,
    connections=16,
    goals={"aria2c": 1.0},
    rounds=3,
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The suite's options."""
    byteraces.add_arguments(parser, WORK)


def run(arguments: argparse.Namespace) -> int:
    """Race; 0 where all goals are met."""
    return byteraces.run(arguments, WORK)
