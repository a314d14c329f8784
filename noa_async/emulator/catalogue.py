"""The catalogue: products by Id, changed at will, asked with filters."""

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import timedelta

from noa_async.emulator.content import Content, fitting_size
from noa_async.emulator.filters import PROPERTIES, compile_tree
from noa_async.emulator.lexing import parse_filter
from noa_async.emulator.product import Product
from noa_async.emulator.timeline import Timeline, time_bounds

_CACHED_LISTS = 32
_CACHED_CONTENTS = 1024


class Catalogue:
    """Every product of the mirror."""

    def __init__(self, products: Iterable[Product] = (), *, seed: int = 1) -> None:
        self._seed = seed
        self._products: dict[str, Product] = {}
        self._lists: OrderedDict[tuple[object, ...], list[Product]] = OrderedDict()
        self._timelines: dict[str, Timeline] = {}
        self._contents: OrderedDict[tuple[str, int], Content] = OrderedDict()
        self._checksums: dict[tuple[str, int], dict[str, str]] = {}
        self._arrived = 0
        for product in products:
            self.add(product)

    def __len__(self) -> int:
        return len(self._products)

    @property
    def products(self) -> list[Product]:
        """Every product, in the order of arrival."""
        return list(self._products.values())

    def get(self, product_id: str) -> Product:
        """The product of this Id. Raises KeyError."""
        return self._products[product_id]

    def has(self, product_id: str) -> bool:
        """Whether the Id is known."""
        return product_id in self._products

    def add(self, product: Product) -> Product:
        """A new product; returns it with its place. Raises ValueError for a known Id."""
        if product.id in self._products:
            raise ValueError(f"the catalogue has {product.id} already: replace it")
        placed = replace(product, index=self._arrived)
        self._arrived += 1
        self._products[placed.id] = placed
        self._lists.clear()
        self._timelines.clear()
        return placed

    def remove(self, product_id: str) -> None:
        """Take a product away. Raises KeyError."""
        self._forget(self._products.pop(product_id))

    def replace(self, product_id: str, *, size: int | None = None, **changes: object) -> Product:
        """Other bytes under the same Id: new ETag, checksum and ModificationDate.

        `changes` are fields of Product, given as they should be afterwards.
        """
        old = self._products[product_id]
        fields = {
            "revision": old.revision + 1,
            "size": fitting_size(old.name, size or old.size),
            "modified": old.modified + timedelta(hours=1),
            **changes,
        }
        self._products[product_id] = replace(old, **fields)  # type: ignore[arg-type]
        self._forget(old)
        return self._products[product_id]

    def update(self, product_id: str, **changes: object) -> Product:
        """Another entry in the same revision, such as `online=True`."""
        old = self._products[product_id]
        self._products[product_id] = replace(old, **changes)  # type: ignore[arg-type]
        self._forget(old)
        return self._products[product_id]

    def content(self, product_id: str) -> Content:
        """The bytes behind an Id, in their present revision. Raises KeyError."""
        product = self._products[product_id]
        key = (product_id, product.revision)
        content = self._contents.pop(key, None)
        if content is None:
            content = Content(product, self._seed, self._checksums.setdefault(key, {}))
        self._contents[key] = content
        if len(self._contents) > _CACHED_CONTENTS:
            self._contents.popitem(last=False)
        return content

    def select(
        self, text: str, order: Sequence[tuple[str, bool]], *, names: bool = False
    ) -> Sequence[Product]:
        """The products a filter matches, in order; ties by Id. Not to be changed.

        Raises RefusedError for what the mirror refuses.
        """
        key = (text, tuple(order), names)
        found = self._lists.get(key)
        if found is None:
            found, sorted_by = self._matching(text, names=names)
            if list(order) != [(sorted_by, False)]:
                found.sort(key=lambda one: one.id)
                # Sorting is stable: from the last key to the first gives the whole order.
                for name, descending in reversed(order):
                    found.sort(key=PROPERTIES[name][1], reverse=descending)
            self._lists[key] = found
            if len(self._lists) > _CACHED_LISTS:
                self._lists.popitem(last=False)
        else:
            self._lists.move_to_end(key)
        return found

    def _matching(self, text: str, *, names: bool) -> tuple[list[Product], str | None]:
        """The products a filter matches, and by which of `TIMES` they are sorted, if by any."""
        if not text.strip():
            return list(self._products.values()), None
        tree = parse_filter(text)
        matches = compile_tree(tree, names=names)
        places = {
            name: self._timeline(name).within(bounds) for name, bounds in time_bounds(tree).items()
        }
        if not places:
            return [one for one in self._products.values() if matches(one)], None
        shortest = min(places, key=lambda name: places[name][1] - places[name][0])
        few = self._timelines[shortest].part(places[shortest])
        return [one for one in few if matches(one)], shortest

    def _timeline(self, name: str) -> Timeline:
        if name not in self._timelines:
            self._timelines[name] = Timeline(name, self._products.values())
        return self._timelines[name]

    def _forget(self, product: Product) -> None:
        """Drop what was computed from a product that has changed."""
        self._lists.clear()
        self._timelines.clear()
        for known in (self._contents, self._checksums):
            known.pop((product.id, product.revision), None)
