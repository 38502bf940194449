"""How long a text is for a text encoder, estimated without its vocabulary: what may share a pipeline call.

A renderer pads no prompt to the length of another, since that changes its picture: images of unequal length go
through the UNet in calls of their own. So a batch is filled with texts that seem to be of one length. Where the
estimate is wrong the renderer divides the batch, which costs time and nothing else.
"""

import re

CHUNK_TOKENS = 75
"""How many tokens a text encoder takes at once, without those that begin and end a text."""

# What the tokenizer of CLIP cuts a text into before it looks anything up: words, single digits, marks.
_PIECE = re.compile(r"[^\W\d_]+|\d|[^\w\s]+|_")
# What takes no token: network tags, brackets, and the weight before a closing one.
_SILENT = re.compile(r"<[^<>]*>|:\s*[-+]?[\d.]+\s*(?=\))|[()\[\]\\]")
_AND = re.compile(r"\bAND\b")
_BREAK = re.compile(r"\bBREAK\b")
# Common words are one token; of longer ones each so many letters, on average.
_LETTERS_OF_A_WORD = 11
_LETTERS_OF_A_TOKEN = 5
_MOST = 8
_MOST_TOKENS = _MOST * CHUNK_TOKENS


def estimate_shape(prompt: str, negative_prompt: str) -> tuple[int, int, int]:
    """How many sub-prompts a prompt joins by AND, and the chunks of its longest and of the negative prompt.

    None is more than 8: texts that long are rare, and each shape is a kind of its own.
    """
    parts = _AND.split(prompt)
    return min(len(parts), _MOST), max(map(estimate_chunks, parts)), estimate_chunks(negative_prompt)


def estimate_chunks(text: str) -> int:
    """How many chunks a text takes, at least one and no more than 8; each section between BREAKs has its own."""
    if len(text) <= CHUNK_TOKENS and "BREAK" not in text:
        return 1
    sections = _BREAK.split(text, maxsplit=_MOST)
    return min(_MOST, sum(max(1, -(-_estimate_tokens(section) // CHUNK_TOKENS)) for section in sections))


def _estimate_tokens(text: str) -> int:
    """Counted no further than the most chunks go: texts of a hundred thousand signs may come by thousands."""
    pieces = _PIECE.findall(_SILENT.sub(" ", text[: _MOST_TOKENS * _LETTERS_OF_A_WORD]))
    return sum(map(_tokens_of, pieces[:_MOST_TOKENS]))


def _tokens_of(piece: str) -> int:
    return 1 if len(piece) <= _LETTERS_OF_A_WORD else -(-len(piece) // _LETTERS_OF_A_TOKEN)
