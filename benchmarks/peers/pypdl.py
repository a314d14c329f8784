"""pypdl, which takes each file's MD5 itself once it is there."""

import sys
from pathlib import Path

from pypdl import Pypdl

from benchmarks.peers.job import read_job


def main() -> None:
    job = read_job()
    tasks = [
        {"url": wanted.url, "file_path": str(Path(job.output, wanted.name))}
        for wanted in job.wanted
    ]
    done = Pypdl(max_concurrent=job.connections).start(
        tasks=tasks,
        headers=job.headers,
        multisegment=False,
        hash_algorithms="md5",
        overwrite=True,
        display=False,
        block=True,
    )
    sums = {url: result.get_hash("md5") for url, result in done}
    if any(sums.get(wanted.url) != wanted.md5 for wanted in job.wanted):
        sys.exit("something is missing or wrong")


if __name__ == "__main__":
    main()
