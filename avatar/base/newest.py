"""A place for one item between two threads: what waits there is replaced by what comes after it."""

from __future__ import annotations

import threading
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Newest(Generic[Item]):
    """Hands the newest item from a fast thread to a slower one. Nothing piles up; what was replaced is counted."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._item: Item | None = None
        self._closed = False
        self._given = self._dropped = 0

    @property
    def given(self) -> int:
        """Items put so far."""
        return self._given

    @property
    def dropped(self) -> int:
        """Items that were replaced before anybody took them."""
        return self._dropped

    def put(self, item: Item) -> None:
        """Leave an item in place of one that waits. Returns at once; after `close` nothing is taken any more."""
        with self._condition:
            if self._closed:
                return
            self._given += 1
            self._dropped += self._item is not None
            self._item = item
            self._condition.notify()

    def take(self, timeout: float | None = None) -> Item | None:
        """The newest item, after waiting for it: `timeout` seconds at most, None without limit.

        None where none came in time, and where the place is closed and empty.
        """
        with self._condition:
            self._condition.wait_for(lambda: self._item is not None or self._closed, timeout)
            item, self._item = self._item, None
            return item

    def close(self) -> None:
        """Nothing comes any more; what waits can still be taken."""
        with self._condition:
            self._closed = True
            self._condition.notify_all()
