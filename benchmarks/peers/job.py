"""What a peer's script is to fetch, as a file that it is given."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Wanted:
    """One product."""

    url: str
    name: str
    md5: str


@dataclass(frozen=True, slots=True)
class Job:
    """All that is wanted, and how."""

    wanted: tuple[Wanted, ...]
    output: str
    connections: int
    authorization: str
    authority: str | None
    """A file of certificate authorities to trust; None without TLS."""

    def write(self, path: Path) -> Path:
        """Keep it in a file; its path."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(asdict(self)))
        return path

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": self.authorization}


def read_job() -> Job:
    """The job in the file that the first argument names."""
    document = json.loads(Path(sys.argv[1]).read_text())
    wanted = tuple(Wanted(**each) for each in document.pop("wanted"))
    return Job(wanted, **document)
