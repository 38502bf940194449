"""CLIP's vocabulary: from a folder of a tokenizer, or from inside an installed open_clip."""

import gzip
import importlib.util
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tokenizers.pre_tokenizers import ByteLevel
from transformers import CLIPTokenizer

from farm.weights.files.header import BadWeights

_START, _END = "<|startoftext|>", "<|endoftext|>"
_WORD_END = "</w>"
_OPEN_CLIP_FILE = "bpe_simple_vocab_16e6.txt.gz"
_TOKENS = 49_408
# Of the file's lines the first is a comment, and CLIP reads as many as fill its vocabulary.
_MERGES = _TOKENS - 2 * 256 - 2

NO_VOCABULARY = (
    "CLIP's vocabulary is not in such a file. Give a folder with vocab.json and merges.txt (or a tokenizer.json), "
    "or let it be fetched from a hub, or `pip install --no-deps open_clip_torch`, whose wheel carries it."
)


@dataclass(frozen=True)
class Vocabulary:
    """The numbers of the tokens, and the merges in the order of their rank."""

    numbers: dict[str, int]
    merges: list[tuple[str, str]]

    def tokenizer(self, *, length: int, pad_token: str) -> CLIPTokenizer:
        """CLIP's tokenizer for texts of `length` tokens."""
        return CLIPTokenizer(
            vocab=self.numbers, merges=self.merges, model_max_length=length, pad_token=pad_token
        )  # fmt: skip


def find_vocabulary(folders: Sequence[Path]) -> Vocabulary:
    """The vocabulary of the first folder given, else that of an installed open_clip. Raises BadWeights."""
    if folders:
        return _read_folder(folders[0])
    installed = _open_clip_file()
    if installed is None:
        raise BadWeights(NO_VOCABULARY)
    return read_open_clip(installed)


def _open_clip_file() -> Path | None:
    """The file within the package, which is not imported: it would pull in what is not installed with it."""
    found = importlib.util.find_spec("open_clip")
    for folder in (found.submodule_search_locations or []) if found else []:
        if (file := Path(folder) / _OPEN_CLIP_FILE).is_file():
            return file
    return None


def read_open_clip(path: Path) -> Vocabulary:
    """The vocabulary as open_clip ships it: a gzipped list of merges, from which the tokens follow."""
    try:
        with gzip.open(path, "rt", encoding="utf-8") as stream:
            lines = stream.read().split("\n")[1 : _MERGES + 1]
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise BadWeights(f"{path} is not a vocabulary of open_clip.") from error
    return from_merges([_pair(line, path) for line in lines if line.strip()])


def from_merges(merges: list[tuple[str, str]]) -> Vocabulary:
    """CLIP numbers the bytes, then the bytes that end a word, then what each merge makes, then start and end."""
    letters = _letters()
    tokens = [*letters, *(letter + _WORD_END for letter in letters), *(a + b for a, b in merges), _START, _END]
    return Vocabulary({token: number for number, token in enumerate(tokens)}, merges)


def _letters() -> list[str]:
    """A letter for each byte, in CLIP's order: printable bytes stand for themselves and come first."""
    alphabet = ByteLevel.alphabet()
    return sorted(alphabet, key=lambda letter: (ord(letter) > 255, ord(letter)))


def _read_folder(folder: Path) -> Vocabulary:
    try:
        numbers, merges = _read_files(folder)
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        raise BadWeights(f"{folder} does not hold CLIP's vocabulary: it cannot be read.") from error
    if not isinstance(numbers, dict) or not {_START, _END} <= numbers.keys():
        raise BadWeights(f"{folder} does not hold CLIP's vocabulary: {_START} is not in it.")
    return Vocabulary(numbers, merges)


def _read_files(folder: Path) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """The old form of two files, or the one file of today, whose merges may be lines or pairs."""
    if (folder / "vocab.json").is_file() and (folder / "merges.txt").is_file():
        lines = (folder / "merges.txt").read_text(encoding="utf-8").split("\n")
        merges = [_pair(line, folder) for line in lines if line.strip() and not line.startswith("#version")]
        return json.loads((folder / "vocab.json").read_text(encoding="utf-8")), merges
    if (folder / "tokenizer.json").is_file():
        model = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))["model"]
        return model["vocab"], [_pair(m, folder) if isinstance(m, str) else (m[0], m[1]) for m in model["merges"]]
    raise BadWeights(f"{folder} holds no vocabulary: neither vocab.json with merges.txt, nor tokenizer.json.")


def _pair(line: str, source: Path) -> tuple[str, str]:
    first, _, second = line.strip().partition(" ")
    if not second or " " in second:
        raise BadWeights(f"{source} holds a merge that is none: {line[:40]!r}.")
    return first, second
