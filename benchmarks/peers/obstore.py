"""obstore: its stream in pieces of 1 MiB, each hashed and written in a thread."""

import asyncio
import hashlib
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from obstore.store import HTTPStore

from benchmarks.peers.job import Job, Wanted, read_job

PIECE = 1 << 20


async def fetch(store: HTTPStore, job: Job, wanted: Wanted, places: asyncio.Semaphore) -> None:
    async with places:
        answer = await store.get_async(urlsplit(wanted.url).path.lstrip("/"))
        digest = hashlib.md5()
        with Path(job.output, wanted.name).open("wb", buffering=0) as file:

            def keep(piece: Any) -> None:
                view = memoryview(piece)
                digest.update(view)
                file.write(view)

            async for piece in answer.stream(min_chunk_size=PIECE):
                await asyncio.to_thread(keep, piece)
        if digest.hexdigest() != wanted.md5:
            sys.exit(f"{wanted.name} is wrong")


async def main() -> None:
    job = read_job()
    parts = urlsplit(job.wanted[0].url)
    options: dict[str, Any] = {"default_headers": job.headers, "allow_http": True}
    if job.authority:
        options["allow_invalid_certificates"] = True  # it takes no authority of one's own
    store = HTTPStore.from_url(f"{parts.scheme}://{parts.netloc}", client_options=options)
    places = asyncio.Semaphore(job.connections)
    async with asyncio.TaskGroup() as group:
        for wanted in job.wanted:
            group.create_task(fetch(store, job, wanted, places))


if __name__ == "__main__":
    asyncio.run(main())
