"""CLIP's vocabulary: found in a folder, or inside an installed open_clip, and doubted."""

import gzip
import json
import sys
from pathlib import Path

import pytest

from farm.weights.files.header import BadWeights
from tests.checkpoints import export_single_file
from tests.workers.ingest.conftest import Checkpoints, Ingest
from workers.ingest.tokenizers.vocabulary import find_vocabulary, from_merges

_MERGES = [("h", "e"), ("l", "l"), ("he", "ll"), ("o", "</w>"), ("l", "o</w>")]


def _install_open_clip(folder: Path, lines: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    package = folder / "open_clip"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('it was imported')")
    with gzip.open(package / "bpe_simple_vocab_16e6.txt.gz", "wt", encoding="utf-8") as stream:
        stream.write("\n".join(["a comment", *lines, ""]))
    monkeypatch.setattr(sys, "path", [str(folder), *sys.path])


def test_clips_letters_come_first_in_clips_order() -> None:
    numbers = from_merges(_MERGES).numbers
    assert [numbers[token] for token in ("!", "~", "¡", "ÿ", "Ā")] == [0, 93, 94, 187, 188]
    assert (numbers["!</w>"], numbers["he"], numbers["<|startoftext|>"]) == (256, 512, 512 + len(_MERGES))


def test_the_file_within_open_clip_gives_the_vocabulary_and_the_package_is_not_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _install_open_clip(tmp_path, [" ".join(pair) for pair in _MERGES[:3]], monkeypatch)
    assert find_vocabulary([]) == from_merges(_MERGES[:3])


def test_no_more_merges_are_read_than_clip_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _install_open_clip(tmp_path, ["a b"] * 60_000, monkeypatch)
    assert len(find_vocabulary([]).merges) == 49_408 - 512 - 2


def test_both_forms_of_a_tokenizers_folder_give_the_same_vocabulary(tmp_path: Path) -> None:
    vocabulary = from_merges(_MERGES[:3])
    today, then = tmp_path / "today", tmp_path / "then"
    vocabulary.tokenizer(length=77, pad_token="!").save_pretrained(today)
    then.mkdir()
    (then / "vocab.json").write_text(json.dumps(vocabulary.numbers))
    (then / "merges.txt").write_text("#version: 0.2\n" + "\n".join(" ".join(pair) for pair in _MERGES[:3]) + "\n")
    assert find_vocabulary([today]) == find_vocabulary([then]) == vocabulary


def test_a_file_without_a_vocabulary_is_refused_with_three_ways_to_get_one(
    checkpoints: Checkpoints, take_in: Ingest, tmp_path: Path
) -> None:
    file = export_single_file(checkpoints("sd15"), tmp_path / "single.safetensors")
    with pytest.raises(BadWeights, match=r"Give a folder .* or let it be fetched from a hub, or `pip install"):
        take_in(file)
    assert not (tmp_path / "taken").exists()


def test_a_vocabulary_of_another_model_is_refused(
    checkpoints: Checkpoints, take_in: Ingest, tmp_path: Path
) -> None:
    file = export_single_file(checkpoints("sd15"), tmp_path / "single.safetensors")
    from_merges(_MERGES[:3]).tokenizer(length=77, pad_token="!").save_pretrained(tmp_path / "other")
    with pytest.raises(BadWeights, match="has 517 tokens, and the text encoder 514: they do not belong together"):
        take_in(file, clip_vocabulary=tmp_path / "other")


@pytest.mark.parametrize("content", ["", "{}", '{"a": 1}', "[1, 2]"])
def test_a_folder_that_holds_no_vocabulary_is_refused(content: str, tmp_path: Path) -> None:
    (tmp_path / "vocab.json").write_text(content)
    (tmp_path / "merges.txt").write_text("h e\n")
    with pytest.raises(BadWeights, match="does not hold CLIP's vocabulary"):
        find_vocabulary([tmp_path])
