"""The tokens of a text in chunks of 75, as AUTOMATIC1111's WebUI fills them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from farm.prompts.attention import Fragment

CHUNK_SIZE = 75
"""The tokens that a text encoder takes at once, without those that begin and end a text."""

# A phrase that would be cut moves to the next chunk whole, if its comma is at most so far back.
_COMMA_REACH = 20
_NOWHERE = -CHUNK_SIZE
_WORD_END = "</w>"


@dataclass(frozen=True)
class EmbeddingWord:
    """An embedding that stands for a word of the prompt, with its `rows` vectors."""

    sha256: str
    rows: int


@dataclass(frozen=True)
class Token:
    """A token with its weight; `embedding` is the sha256 and the row of a vector that takes its place."""

    id: int
    weight: float = 1.0
    embedding: tuple[str, int] | None = None


Chunk = tuple[Token, ...]
"""At most CHUNK_SIZE tokens; fewer are filled up when they are encoded."""


def split_into_chunks(
    sections: Sequence[Sequence[Fragment]], tokenizer: Any, words: Mapping[str, EmbeddingWord]
) -> tuple[Chunk, ...]:
    """The chunks of a text, at least one. Each section begins a chunk; `words` are embeddings by name."""
    named = [(tuple(_token_ids(tokenizer, name)), word) for name, word in words.items()]
    longest_first = sorted(((ids, word) for ids, word in named if ids), key=lambda item: -len(item[0]))
    builder = _ChunkBuilder(comma=tokenizer.convert_tokens_to_ids(f",{_WORD_END}"))
    for section in sections:
        for fragment in section:
            ids = _token_ids(tokenizer, fragment.text)
            _add_fragment(builder, ids, _word_starts(tokenizer, ids), fragment.weight, longest_first)
        builder.close()
    return tuple(builder.chunks)


class _ChunkBuilder:
    """Builds chunks token by token."""

    def __init__(self, comma: int) -> None:
        self.chunks: list[Chunk] = []
        self._open: list[Token] = []
        self._comma = comma
        self._last_comma = _NOWHERE

    def add(self, token: Token) -> None:
        self._keep_phrase_together(token.id)
        self._close_if_full(1)
        self._open.append(token)

    def add_together(self, first_id: int, tokens: Sequence[Token]) -> None:
        """Tokens that stay in one chunk, in place of a word that begins with `first_id`."""
        self._keep_phrase_together(first_id)
        self._close_if_full(len(tokens))
        self._open += tokens

    def _keep_phrase_together(self, token_id: int) -> None:
        """Note where commas are; when a full chunk would cut a phrase, move the phrase on."""
        if token_id == self._comma:
            self._last_comma = len(self._open)
        elif len(self._open) == CHUNK_SIZE and CHUNK_SIZE - self._last_comma <= _COMMA_REACH:
            kept, moved = self._open[: self._last_comma + 1], self._open[self._last_comma + 1 :]
            self._open = kept
            self.close()
            self._open = moved

    def close(self) -> None:
        self.chunks.append(tuple(self._open))
        self._open = []
        self._last_comma = _NOWHERE

    def _close_if_full(self, wanted: int) -> None:
        if len(self._open) + wanted > CHUNK_SIZE:
            self.close()


def _add_fragment(
    builder: _ChunkBuilder,
    ids: Sequence[int],
    starts: Sequence[bool],
    weight: float,
    words: Iterable[tuple[tuple[int, ...], EmbeddingWord]],
) -> None:
    position = 0
    while position < len(ids):
        found = _find_word(ids, position, words) if starts[position] else None
        if found is None:
            builder.add(Token(ids[position], weight))
            position += 1
        else:
            name, word = found
            builder.add_together(ids[position], [Token(0, weight, (word.sha256, row)) for row in range(word.rows)])
            position += len(name)


def _find_word(
    ids: Sequence[int], position: int, words: Iterable[tuple[tuple[int, ...], EmbeddingWord]]
) -> tuple[tuple[int, ...], EmbeddingWord] | None:
    """The first of the words whose name begins here, by tokens: so upper and lower case are one, as in CLIP."""
    return next(((name, word) for name, word in words if tuple(ids[position : position + len(name)]) == name), None)


def _word_starts(tokenizer: Any, ids: Sequence[int]) -> list[bool]:
    ends = [token.endswith(_WORD_END) for token in tokenizer.convert_ids_to_tokens(ids)]
    return [True, *ends[:-1]] if ends else []


def _token_ids(tokenizer: Any, text: str) -> list[int]:
    ids: list[int] = tokenizer(text, add_special_tokens=False, truncation=False, verbose=False).input_ids
    return ids
