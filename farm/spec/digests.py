"""The sha256 of pictures and weights: how it is written in full, and the beginning by which the WebUI knows it."""

import re

PATTERN = "[0-9a-f]{64}"
"""A sha256 in full, as a regular expression."""

SHOWN_DIGITS = 10
"""How many first digits the WebUI has shown since 2023; what was shorter hashed something else."""

_DIGEST = re.compile(PATTERN)


def is_digest(text: str) -> bool:
    """Whether a text is a sha256 in full."""
    return _DIGEST.fullmatch(text) is not None


def shorten_digest(sha256: str) -> str:
    """Its first digits, as the WebUI shows them."""
    return sha256[:SHOWN_DIGITS]
