"""Which registered embeddings a prompt names.

AUTOMATIC1111's WebUI looks for a name's tokens among the prompt's, and CLIP cuts text into words before
anything else: runs of letters, single digits, runs of other signs, in lower case. So a name is found where
its words follow each other, regardless of case, and of the spaces, dashes and underscores between them:
`bad-hands-5` in `(Bad_Hands 5:1.2)`, `cat` not in `cats`.
"""

import re
import unicodedata
from collections.abc import Collection, Iterator
from dataclasses import dataclass

# The signs of the prompt language are words of their own, so that they never merge with those of a name.
_WORD = re.compile(r"[^\W\d_]+|\d|[()\[\]{}|:<>,]|[^\w\s()\[\]{}|:<>,\\-]+")

_Words = tuple[str, ...]


@dataclass(frozen=True)
class Mention:
    """A name, and how a text spells it there, its letters composed."""

    spelling: str
    name: str


class EmbeddingNames:
    """Registered names, indexed to be searched for in many texts."""

    def __init__(self, known: Collection[str]) -> None:
        self._names = _group_by_words(known)
        lengths: dict[str, set[int]] = {}
        for words in self._names:
            lengths.setdefault(words[0], set()).add(len(words))
        # Of names that begin with a word: however many there are, each length is looked up once.
        self._lengths = {first: sorted(found, reverse=True) for first, found in lengths.items()}

    def in_text(self, text: str) -> tuple[str, ...]:
        """The names that occur, in the order of their first occurrence."""
        return tuple(dict.fromkeys(mention.name for mention in self.mentions(text)))

    def mentions(self, text: str) -> Iterator[Mention]:
        """Where names occur, from left to right; the longest wins where two begin.

        Of names that are alike the one that is spelled exactly is meant, else the first in alphabetical order.
        """
        text = unicodedata.normalize("NFC", text)
        found = list(_WORD.finditer(text))
        words = tuple(match[0].casefold() for match in found)
        position = 0
        while position < len(words):
            alike = self._find_longest(words, position)
            if alike:
                count, names = alike
                spelling = text[found[position].start() : found[position + count - 1].end()]
                yield Mention(spelling, spelling if spelling in names else names[0])
                position += count - 1
            position += 1

    def _find_longest(self, words: _Words, position: int) -> tuple[int, list[str]] | None:
        """How many words the longest name has that begins here, and the names that they spell."""
        for count in self._lengths.get(words[position], ()):
            spelling = words[position : position + count]
            if len(spelling) == count and (names := self._names.get(spelling)):
                return count, names
        return None


def embeddings_in(text: str, known: Collection[str]) -> tuple[str, ...]:
    """The names that occur in one text, as `EmbeddingNames.in_text` finds them."""
    return EmbeddingNames(known).in_text(text)


def words_of(text: str) -> _Words:
    """The words of a text, as names are looked for among them."""
    return tuple(match[0].casefold() for match in _WORD.finditer(unicodedata.normalize("NFC", text)))


def _group_by_words(known: Collection[str]) -> dict[_Words, list[str]]:
    """The names that the same words spell, in alphabetical order."""
    spelled: dict[_Words, list[str]] = {}
    for name in sorted(known):
        if words := words_of(name):
            spelled.setdefault(words, []).append(name)
    return spelled
