"""As NOA's own example does: requests, one product after another, pieces of 8 KiB; and an MD5."""

import hashlib
import sys
from pathlib import Path

import requests

from benchmarks.peers.job import read_job


def main() -> None:
    job = read_job()
    for wanted in job.wanted:
        digest = hashlib.md5()
        with requests.get(
            wanted.url, headers=job.headers, stream=True, verify=job.authority or True
        ) as answer:
            answer.raise_for_status()
            with Path(job.output, wanted.name).open("wb") as file:
                for piece in answer.iter_content(chunk_size=8192):
                    digest.update(piece)
                    file.write(piece)
        if digest.hexdigest() != wanted.md5:
            sys.exit(f"{wanted.name} is wrong")


if __name__ == "__main__":
    main()
