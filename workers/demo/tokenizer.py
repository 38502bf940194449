"""The tokenizer of the demo checkpoint: CLIP's, with the words of its captions."""

from collections import Counter
from collections.abc import Iterable
from itertools import pairwise
from random import Random

from tokenizers.pre_tokenizers import ByteLevel
from transformers import CLIPTokenizer

from workers.demo.captions import caption
from workers.demo.scenes import invent

_START, _END = "<|startoftext|>", "<|endoftext|>"


def make_tokenizer() -> CLIPTokenizer:
    """CLIP's tokenizer: each word of the captions is one token, and other words are spelled in pieces."""
    merges = _learn_merges(_common_words())
    letters = sorted(ByteLevel.alphabet())
    joined = ["".join(pair) for pair in merges]
    tokens = [*letters, *(f"{letter}</w>" for letter in letters), *joined, _START, _END]
    vocab = {token: number for number, token in enumerate(tokens)}
    return CLIPTokenizer(vocab=vocab, merges=merges, model_max_length=77)


def _common_words() -> list[str]:
    """The words of some thousand captions, less the stray ones."""
    counted = Counter[str]()
    for random in map(Random, range(4000)):
        counted.update(caption(invent(random), random).replace(",", " ").split())
    return sorted(word for word, count in counted.items() if count >= 12)


def _learn_merges(words: Iterable[str]) -> list[tuple[str, str]]:
    """Byte pair encoding (Sennrich et al., 1508.07909) until each word is one piece; ties go by the alphabet."""
    spelled = [(*word[:-1], f"{word[-1]}</w>") for word in words]
    merges = []
    while counts := Counter(pair for pieces in spelled for pair in pairwise(pieces)):
        merges.append(min(counts, key=lambda pair: (-counts[pair], pair)))
        spelled = [_merge_pair(pieces, merges[-1]) for pieces in spelled]
    return merges


def _merge_pair(pieces: tuple[str, ...], pair: tuple[str, str]) -> tuple[str, ...]:
    """The pieces with each occurrence of the pair as one."""
    joined: list[str] = []
    for piece in pieces:
        if joined and (joined[-1], piece) == pair:
            joined[-1] += piece
        else:
            joined.append(piece)
    return tuple(joined)
