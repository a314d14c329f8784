"""parfive, which checks each file's MD5 itself once it is there."""

import sys

from parfive import Downloader, SessionConfig

from benchmarks.peers.job import read_job


def main() -> None:
    job = read_job()
    config = SessionConfig(headers=job.headers)  # whom to trust, SSL_CERT_FILE says
    downloader = Downloader(max_conn=job.connections, max_splits=1, progress=False, config=config)
    for wanted in job.wanted:
        downloader.enqueue_file(
            wanted.url, path=job.output, filename=wanted.name, checksum=f"md5={wanted.md5}"
        )
    done = downloader.download()
    if done.errors:
        sys.exit(str(done.errors[:3]))


if __name__ == "__main__":
    main()
