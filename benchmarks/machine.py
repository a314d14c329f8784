"""What a measurement was made on: enough to judge a figure by, and no names."""

from __future__ import annotations

import os
import platform
from pathlib import Path


def describe() -> dict[str, str | int]:
    """Cores, memory, kernel and Python."""
    kernel = ".".join(platform.release().split(".")[:2])
    return {
        "cores": len(os.sched_getaffinity(0)),
        "architecture": platform.machine(),
        "memory_gib": round(_memory() / 2**30),
        "kernel": f"{platform.system()} {kernel}",
        "python": platform.python_version(),
    }


def sentence(machine: dict[str, str | int]) -> str:
    """The description as one line.

    >>> sentence({"cores": 2, "architecture": "x86_64", "memory_gib": 8, "kernel": "Linux 6.1",
    ...           "python": "3.11.2"})
    '2 cores (x86_64), 8 GiB of memory, Linux 6.1, Python 3.11.2'
    """
    return (
        f"{machine['cores']} cores ({machine['architecture']}), {machine['memory_gib']} GiB of "
        f"memory, {machine['kernel']}, Python {machine['python']}"
    )


def _memory() -> int:
    for line in Path("/proc/meminfo").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == "MemTotal":
            return int(value.split()[0]) * 1024
    return 0
