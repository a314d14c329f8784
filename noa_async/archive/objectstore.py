"""What obstore does for an output: opened as the user's variables say, its errors made ours."""

from __future__ import annotations

import hashlib
import os
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from noa_async.archive.destination import FileFacts
from noa_async.archive.providers import is_mismatch, plain, provider_of, refusal_code
from noa_async.errors import DestinationError, SettingsError

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping
    from pathlib import Path
    from types import ModuleType

    from noa_async.archive.targets import StoreUrl

PIECE = 5 << 20
"""Bytes: what is larger goes up in pieces of so many."""
_TRIES = 3
"""For bytes that change on their way."""
_RETRIES = {"max_retries": 10, "retry_timeout": timedelta(minutes=3)}


class ObjectStore:
    """A prefix in a bucket, reached when it is first needed. All of it blocks."""

    def __init__(self, target: StoreUrl) -> None:
        self.provider = provider_of(target.scheme)
        self._target = target
        self._reached: tuple[ModuleType, Any] | None = None
        self._going: set[str] = set()

    def connect(self) -> tuple[ModuleType, Any]:
        """obstore, and what it takes for this store.

        Raises SettingsError where obstore is not installed, or variables say what cannot be.
        """
        if self._reached is None:
            try:
                import obstore  # noqa: PLC0415 (heavy, and an extra)
            except ImportError:
                raise SettingsError(
                    f"{self._target} needs obstore, which is not installed.",
                    hint="pip install 'noa-async[s3]'",
                ) from None
            self._reached = obstore, self._opened(obstore)
        return self._reached

    def _opened(self, obstore: ModuleType) -> Any:
        options = self.provider.options(os.environ)
        try:
            return obstore.store.from_url(
                self._target.url,
                config=options or None,
                client_options={"allow_http": True} if plain(options) else None,
                retry_config=_RETRIES,
            )
        except obstore.exceptions.BaseError:
            raise SettingsError(
                f"{self._target} cannot be opened as the variables of its kind say.",
                hint=f"Check what gives its keys ({self.provider.keys}) and its address.",
            ) from None  # its text may hold them

    def put(self, part: Path, key: str, attributes: Mapping[str, str]) -> None:
        """Send all of a file; again where what arrives is not what was sent.

        Raises what obstore does.
        """
        obstore, _ = self.connect()
        for _ in range(_TRIES - 1):
            try:
                return self._put_once(part, key, attributes)
            except obstore.exceptions.GenericError as error:
                if not is_mismatch(str(error)):
                    raise
        return self._put_once(part, key, attributes)

    def _put_once(self, part: Path, key: str, attributes: Mapping[str, str]) -> None:
        obstore, store = self.connect()
        self._going.add(key)
        try:
            obstore.put(
                store,
                key,
                part,
                attributes=dict(attributes),
                chunk_size=PIECE,
                max_concurrency=pieces_at_once(len(self._going)),
            )
        finally:
            self._going.discard(key)

    def look_at(self, key: str) -> FileFacts:
        """Size and ETag of an object. Raises what obstore does."""
        obstore, store = self.connect()
        try:
            return facts_of(obstore.head(store, key))
        except OSError:
            raise
        except Exception:
            obstore.get(store, key)  # its refusal has a text that tells why, that of HEAD has none
            raise

    @contextmanager
    def blamed(self, what: str) -> Generator[None]:
        """Turn what obstore raises into a DestinationError; an OSError of this machine stays."""
        try:
            yield
        except (DestinationError, SettingsError):
            raise
        except Exception as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise
            raise self._refusal(error, what) from None  # its text may hold what was signed

    def _refusal(self, error: Exception, what: str) -> DestinationError:
        text = str(error)
        code = refusal_code(text) or type(error).__name__.removesuffix("Error")
        said, hint = self.provider.refusal(text, code, type(error).__name__)
        return DestinationError(f"{self._target} cannot be {what}: {said}.", hint=hint)


def pieces_at_once(going: int) -> int:
    """Of one product, where so many go up.

    >>> [pieces_at_once(going) for going in (1, 2, 8)]
    [2, 1, 1]
    """
    return 1 if going > 1 else 2


def facts_of(meta: Any) -> FileFacts:
    """Size, and a number of the ETag; of the second it was written where there is none."""
    tag = meta.get("e_tag")
    if not tag:
        return FileFacts(meta["size"], int(meta["last_modified"].timestamp()) * 10**9)
    stamp = hashlib.sha256(tag.strip('"').encode()).digest()
    return FileFacts(meta["size"], int.from_bytes(stamp[:8], "big") >> 1)
