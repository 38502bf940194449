"""Reads of the store: what they fail of, and that one is going on, such as one that a render waits for."""

from collections.abc import Iterator
from contextlib import contextmanager

from farm.errors import StoreAway, StoreOutage, StoreRefused


class Reads:
    """The reads of one thread, such as the render loop's; others may look."""

    def __init__(self) -> None:
        self._depth = 0

    @property
    def is_going_on(self) -> bool:
        """Whether the render loop waits for the store now: what hangs then is not the device."""
        return self._depth > 0

    @contextmanager
    def of(self, what: str) -> Iterator[None]:
        """Read this. Raises StoreAway if the store is away, or refuses: that is no fact about what is read."""
        self._depth += 1
        try:
            yield
        except (StoreOutage, StoreRefused) as error:
            raise StoreAway(f"{what} cannot be read from the store now. {error}") from error
        finally:
            self._depth -= 1
