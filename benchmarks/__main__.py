"""``python -m benchmarks SUITE``: a suite is one module of this package.

A suite's module has a docstring, ``add_arguments(parser)`` and ``run(arguments) -> exit code``.
"""

from __future__ import annotations

import argparse
import sys
from importlib import import_module

SUITES = (
    *("cluster", "faults", "large", "ledger", "listing", "memory", "nights"),
    *("restart", "sizing", "small", "store", "tls", "verify", "wan"),
)


def main(arguments: list[str] | None = None) -> int:
    """Run the suite that is asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    suites = parser.add_subparsers(dest="suite", metavar="SUITE", required=True)
    for name in SUITES:
        module = import_module(f"benchmarks.{name}")
        summary = (module.__doc__ or "").splitlines()[0]
        own = suites.add_parser(name, help=summary, description=summary)
        module.add_arguments(own)
        own.set_defaults(run=module.run)
    chosen = parser.parse_args(arguments)
    try:
        code: int = chosen.run(chosen)
    except RuntimeError as error:  # a part is missing, or a program broke off
        print(error, file=sys.stderr)
        return 1
    return code


if __name__ == "__main__":
    sys.exit(main())
