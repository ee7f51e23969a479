# SPDX-License-Identifier: Apache-2.0
"""A mailbox with one slot: the newest item wins, and who puts it learns what it replaced."""

from __future__ import annotations

import threading
from typing import Generic, TypeVar

T = TypeVar("T")


class Mailbox(Generic[T]):
    """Hands items from one thread to another. `put` never blocks; an item that was not taken in time is replaced."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._item: T | None = None
        self._closed = False

    @property
    def waiting(self) -> bool:
        """Whether an item is waiting to be taken."""
        with self._changed:
            return self._item is not None

    def put(self, item: T) -> bool:
        """Leave `item` for the other thread; returns whether it replaced one that was not taken."""
        with self._changed:
            if self._closed:
                return False
            replaced = self._item is not None
            self._item = item
            self._changed.notify()
            return replaced

    def take(self) -> T | None:
        """Wait for an item and take it; None once the mailbox is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._item is not None)
            item, self._item = self._item, None
            return None if self._closed else item

    def close(self) -> None:
        """End every `take`, now and later."""
        with self._changed:
            self._closed = True
            self._item = None
            self._changed.notify_all()
