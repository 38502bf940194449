"""JSON whose objects have each key once: Python's reader silently takes the last of two."""

from typing import Any


class RepeatedKey(ValueError):
    """A key occurs twice in one object."""

    def __init__(self, key: str) -> None:
        super().__init__(key)
        self.key = key


def refuse_repeated_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of these pairs, as `object_pairs_hook` of `json` has them. Raises RepeatedKey."""
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise RepeatedKey(key)
        found[key] = value
    return found
