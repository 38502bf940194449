"""Which registered embeddings a prompt names.

AUTOMATIC1111's WebUI looks for a name's tokens among the prompt's, and CLIP cuts text into words before
anything else: runs of letters, single digits, runs of other signs, in lower case. So a name is found where
its words follow one another, whatever their case: `bad-hands-5` in `(Bad-Hands-5:1.2)`, `cat` not in `cats`.
"""

import re
from collections.abc import Collection, Iterator

# The signs of the prompt language stand alone, so that they never stick to those of a name.
_WORD = re.compile(r"[^\W\d_]+|\d|[()\[\]{}|:<>,]|(?:[^\w\s()\[\]{}|:<>,\\]|_)+")

_Words = tuple[str, ...]


class Names:
    """Names to be looked for in many texts."""

    def __init__(self, known: Collection[str]) -> None:
        self._names = _by_first_word(known)

    def in_text(self, text: str) -> tuple[str, ...]:
        """The names that occur, in the order of their first occurrence; the longest wins where two begin.

        Of names that differ only in case the first in alphabetical order is meant.
        """
        words = _words(text)
        found: dict[str, None] = {}
        position = 0
        while position < len(words):
            for spelling, name in self._names.get(words[position], ()):
                if words[position : position + len(spelling)] == spelling:
                    found[name] = None
                    position += len(spelling) - 1
                    break
            position += 1
        return tuple(found)


def embeddings_in(text: str, known: Collection[str]) -> tuple[str, ...]:
    """The names that occur in one text, as `Names.in_text` finds them."""
    return Names(known).in_text(text)


def _words(text: str) -> _Words:
    return tuple(_WORD.findall(text.lower()))


def _by_first_word(known: Collection[str]) -> dict[str, list[tuple[_Words, str]]]:
    """For each first word of a name, the names that begin with it, the longest first."""
    names: dict[str, list[tuple[_Words, str]]] = {}
    for spelling, name in _spelled(known):
        names.setdefault(spelling[0], []).append((spelling, name))
    for alike in names.values():
        alike.sort(key=lambda entry: -len(entry[0]))
    return names


def _spelled(known: Collection[str]) -> Iterator[tuple[_Words, str]]:
    for name in sorted(known):
        if spelling := _words(name):
            yield spelling, name
