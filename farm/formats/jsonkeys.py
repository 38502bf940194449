"""JSON whose objects have each key once: Python's reader takes the last of two without a word."""

from typing import Any


class KeyTwice(ValueError):
    """A key that stands twice in one object."""

    def __init__(self, key: str) -> None:
        super().__init__(key)
        self.key = key


def distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of these pairs, as `object_pairs_hook` of `json` has them. Raises KeyTwice."""
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise KeyTwice(key)
        found[key] = value
    return found
