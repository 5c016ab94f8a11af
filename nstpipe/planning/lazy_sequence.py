"""A sequence whose items are made when they are asked for, since there may be a million."""

from __future__ import annotations

import itertools
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import TypeVar, overload

Item = TypeVar("Item", covariant=True)


class LazySequence(Sequence[Item]):
    """A sequence that knows its length and makes its items anew in each iteration.

    So one item takes as long as all before it. It equals each sequence with the same items.
    """

    @abstractmethod
    def __iter__(self) -> Iterator[Item]:
        """Make all items, one after the other."""

    @overload
    def __getitem__(self, index: int) -> Item: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Item, ...]: ...
    def __getitem__(self, index: int | slice) -> Item | tuple[Item, ...]:
        """Return one item, or some of them."""
        if isinstance(index, slice):
            return tuple(self)[index]
        place = index + len(self) if index < 0 else index
        if not 0 <= place < len(self):
            raise IndexError(index)
        return next(itertools.islice(self, place, None))

    def __eq__(self, other: object) -> bool:
        """Return whether another sequence has the same items."""
        return isinstance(other, Sequence) and tuple(self) == tuple(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        """Return the number of items, and the first."""
        return f"<{len(self)} items{f', such as {self[0]}' if len(self) else ''}>"
