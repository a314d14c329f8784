"""Whose path is whose, with those that are being taken at the moment."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from noa_async.archive.names import fold, safe_name, with_ids, with_zip

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from noa_async.archive.layout import Layout
    from noa_async.archive.ledger import Ledger
    from noa_async.catalogue.product import Product


class Places:
    """The paths of one folder."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._claims: dict[str, str] = {}

    def owner(self, path: str) -> str | None:
        """The Id of the product that has a path, or is about to."""
        key = fold(path)
        return self._claims.get(key) or self._ledger.owner(key)

    def is_free(self, path: str, product_id: str) -> bool:
        """Whether no other product has a path."""
        return self.owner(path) in {None, product_id}

    def claimed(self, path: str, product_id: str) -> AbstractContextManager[None]:
        """Keep a path for one product until the ledger knows of it."""
        return _Claim(self._claims, fold(path), product_id)

    def choose(self, product: Product, layout: Layout, *, is_zip: bool) -> str:
        """The first of a product's paths that no other product has."""
        for path in paths_of(product, layout, is_zip=is_zip):
            if self.is_free(path, product.id):
                break
        return path

    def look_up(self, products: Iterable[Product], layout: Layout) -> None:
        """Have at hand whose the paths are that products would have: one question for all."""
        first = {
            next(paths_of(product, layout, is_zip=is_zip))
            for product in products
            for is_zip in (False, True)
        }
        self._ledger.look_up_paths(map(fold, first))


class _Claim(AbstractContextManager[None]):
    """A class, for each product holds one: a generator's context is slow."""

    __slots__ = ("_claims", "_key", "_product_id")

    def __init__(self, claims: dict[str, str], key: str, product_id: str) -> None:
        self._claims = claims
        self._key = key
        self._product_id = product_id

    def __enter__(self) -> None:
        self._claims[self._key] = self._product_id

    def __exit__(self, *_: object) -> None:
        del self._claims[self._key]


def paths_of(product: Product, layout: Layout, *, is_zip: bool) -> Iterator[str]:
    """Where a product may lie in a layout: under its name, or that with its Id."""
    name = with_zip(safe_name(product.name, product.id), is_zip=is_zip)
    yield layout.text(product, name)
    for longer in with_ids(name, product.id):
        yield layout.text(product, longer)
