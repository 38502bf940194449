"""How much each piece of a prompt counts: `(more)`, `[less]`, `(this much:1.3)`, and sections between BREAKs.

The rules are those of AUTOMATIC1111's WebUI (1.10). Four differences, each where it would go wrong: BREAK
ends a section inside brackets too, a malformed number (`(a:1.2.3)`) stays text, no weight is larger than
LARGEST_WEIGHT, and the time it takes grows with the length of the text and nothing else.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

MORE = 1.1
LESS = 1 / 1.1
# Far beyond what a text encoder can use. Without a bound, some hundred brackets overflow half precision.
LARGEST_WEIGHT = 1000.0

# Bounds the product of thousands of brackets, so that no infinity is ever multiplied by zero.
_LARGEST_PRODUCT = 1e300

_TOKEN = re.compile(
    r"""
      (?P<escape> \\ [()\[\]\\]? )
    | : \s* (?P<weight> [+-]? (?: \d+ (?: \. \d* )? | \. \d+ ) ) \s* \)
    | (?P<bracket> [()\[\]] )
    | (?P<text> [^\\()\[\]:]+ | : )
    """,
    re.VERBOSE,
)
# Cheap patterns, searched in a hundred thousand prompts: brackets alone, and what may be a large weight.
_BRACKET = re.compile(r"\\[()\[\]\\]?|[()\[\]]")
_OPENERS = {")": "(", "]": "["}
_FOUR_DIGITS = re.compile(r":\s*[+-]?\d{4}")
_BREAK = re.compile(r"\bBREAK\b")


@dataclass(frozen=True)
class Fragment:
    """A piece of text and its weight; plain text has 1.0."""

    text: str
    weight: float


Section = tuple[Fragment, ...]


@dataclass(frozen=True)
class _Open:
    """A bracket that opens, and the weight of what it holds."""

    is_round: bool
    weight: float


@dataclass(frozen=True)
class _Close:
    """A bracket that closes the last one of its shape."""

    is_round: bool


@dataclass(frozen=True)
class _SectionEnd:
    """A BREAK."""


_Piece = str | _Open | _Close | _SectionEnd


def weigh(text: str) -> tuple[Section, ...]:
    """The sections between BREAKs, each as its fragments; neighbours of one weight are joined.

    A bracket that is never closed reaches to the end; one that closes nothing is text. A section without
    text is one empty fragment, but for a last one, which would say nothing: `a BREAK` is one section.
    """
    sections: list[list[Fragment]] = [[]]
    for fragment in _apply_weights(_split_pieces(text)):
        if fragment is None:
            sections.append([])
        else:
            sections[-1].append(fragment)
    if len(sections) > 1 and not sections[-1]:
        sections.pop()
    return tuple(_join_fragments(section) for section in sections)


def count_unclosed(text: str) -> int:
    """How many brackets are opened and never closed, as `weigh` counts them."""
    opened = {"(": 0, "[": 0}
    for sign in _BRACKET.findall(text):
        if sign in opened:
            opened[sign] += 1
        elif (opener := _OPENERS.get(sign)) and opened[opener]:
            opened[opener] -= 1
    return sum(opened.values())


def find_large_weights(text: str) -> tuple[float, ...]:
    """The weights in a text that are larger than LARGEST_WEIGHT."""
    if not _FOUR_DIGITS.search(text):
        return ()
    opened = (piece for piece in _split_pieces(text) if isinstance(piece, _Open))
    return tuple(piece.weight for piece in opened if piece.weight != clamp_weight(piece.weight))


def clamp_weight(weight: float) -> float:
    """The weight, or the largest there is."""
    return max(-LARGEST_WEIGHT, min(LARGEST_WEIGHT, weight))


def _split_pieces(text: str) -> list[_Piece]:
    """Text without its escapes, and the brackets that mean something."""
    pieces: list[_Piece] = []
    opened: dict[bool, list[int]] = {True: [], False: []}
    for token in _TOKEN.finditer(text):
        written = token[0]
        if token["escape"]:
            pieces.append(written[1:])
        elif written in ("(", "["):
            opened[written == "("].append(len(pieces))
            pieces.append(_Open(written == "(", MORE if written == "(" else LESS))
        elif written.endswith((")", "]")) and opened[written != "]"]:
            start = opened[written != "]"].pop()
            if token["weight"]:
                pieces[start] = _Open(is_round=True, weight=float(token["weight"]))
            pieces.append(_Close(written != "]"))
        else:
            pieces += _split_sections(written)
    return pieces


def _split_sections(text: str) -> Iterator[_Piece]:
    """The text cut at each BREAK, without the space around it."""
    first, *rest = _BREAK.split(text)
    yield first.rstrip() if rest else first
    for index, part in enumerate(rest, 1):
        yield _SectionEnd()
        yield part.strip() if index < len(rest) else part.lstrip()


def _apply_weights(pieces: Iterable[_Piece]) -> Iterator[Fragment | None]:
    """Each piece of text with the product of the brackets around it; None where a section ends.

    Round and square brackets are counted apart, because they may cross: `(a [b) c]`.
    """
    products = {True: [1.0], False: [1.0]}
    for piece in pieces:
        if isinstance(piece, _SectionEnd):
            yield None
        elif isinstance(piece, _Open):
            product = products[piece.is_round][-1] * piece.weight
            products[piece.is_round].append(max(-_LARGEST_PRODUCT, min(_LARGEST_PRODUCT, product)))
        elif isinstance(piece, _Close):
            products[piece.is_round].pop()
        elif piece:
            yield Fragment(piece, clamp_weight(products[True][-1] * products[False][-1]))


def _join_fragments(fragments: list[Fragment]) -> Section:
    runs: list[tuple[float, list[str]]] = []
    for fragment in fragments:
        if runs and runs[-1][0] == fragment.weight:
            runs[-1][1].append(fragment.text)
        else:
            runs.append((fragment.weight, [fragment.text]))
    return tuple(Fragment("".join(texts), weight) for weight, texts in runs) or (Fragment("", 1.0),)
