"""What a prompt may have meant by a name: embeddings that it spells otherwise, and those that it nearly names.

An embedding that is not found is text, and renders as text. So a word that looks like a name and is nearly one is
reported, and so is one that was found although it is written otherwise.
"""

import re
from collections.abc import Collection, Iterator
from functools import cached_property
from itertools import pairwise

from farm.prompts.embeddings import EmbeddingNames, words_of
from farm.spec.names import most_alike

_WORD = re.compile(r"[\w-]+")
# What prose would not hold: a digit, an underscore or a dash in a word, or a capital behind a small letter.
_LIKE_A_NAME = re.compile(r"[\d_-]|[a-z][A-Z]")
_TAG = re.compile(r"<[^<>]*>")
_SHORTEST, _LONGEST = 6, 80
_LIKENESS = 0.85
# Each word is compared with all names: so many words, and fewer where there are many names.
_MOST_COMPARED = 200
_MOST_COMPARISONS = 200_000


class NameDoubts:
    """The embeddings that one kind of checkpoint may be given, and what prompts may have meant by them."""

    def __init__(self, known: Collection[str]) -> None:
        self._names = EmbeddingNames(known)
        self._known = known
        self._compared: dict[str, str | None] = {}

    def in_text(self, text: str) -> Iterator[str]:
        """Warnings for one text, each naming what was written and what is registered."""
        text = _TAG.sub(" ", text)
        mentions = list(self._names.mentions(text))
        for mention in mentions:
            if mention.spelling.casefold() != mention.name.casefold():
                yield f"{mention.spelling!r} is taken for the embedding {mention.name!r}"
        spelled = {word for mention in mentions for word in mention.spelling.split()}
        found = {mention.name for mention in mentions}
        for word in _words_like_names(text):
            near = None if word in spelled else self._near(word)
            if near and near not in found:
                yield f"there is no embedding {word!r}; did you mean {near!r}?"
        words = words_of(text)
        for first, second in pairwise(words):
            if near := self._run_together.get(first + second):
                yield f"'{first} {second}' is text; the embedding is called {near!r}"

    def _near(self, word: str) -> str | None:
        if word not in self._compared:
            if len(self._compared) >= min(_MOST_COMPARED, _MOST_COMPARISONS // max(1, len(self._squeezed))):
                return None
            near = most_alike(_squeeze(word), self._squeezed, likeness=_LIKENESS)
            self._compared[word] = near[0] if near else None
        return self._compared[word]

    @cached_property
    def _squeezed(self) -> dict[str, str]:
        found = {_squeeze(name): name for name in sorted(self._known)}
        return {words: name for words, name in found.items() if len(words) >= _SHORTEST}

    @cached_property
    def _run_together(self) -> dict[str, str]:
        """Names of one word, as `EasyNegative`, which people write as two."""
        return {words: name for words, name in self._squeezed.items() if len(words_of(name)) == 1}


def _words_like_names(text: str) -> Iterator[str]:
    """The words of a text that could be meant as names; each is looked at by itself, however long the text is."""
    for match in _WORD.finditer(text):
        if _SHORTEST <= len(match[0]) <= _LONGEST and _LIKE_A_NAME.search(match[0]):
            yield match[0]


def _squeeze(name: str) -> str:
    return "".join(word for word in words_of(name))
