"""Small products: what each one costs beside its bytes."""

from __future__ import annotations

from dataclasses import replace
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
    goals={"aria2c": 1.7},
    rounds=3,
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The suite's options."""
    byteraces.add_arguments(parser, WORK)


def run(arguments: argparse.Namespace) -> int:
    """Race; return 0 if all goals are met. They hold on a disk; in memory nothing is required."""
    work = WORK if arguments.folder is not None else replace(WORK, goals={})
    return byteraces.run(arguments, work)
