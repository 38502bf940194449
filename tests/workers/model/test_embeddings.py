"""Textual inversions: their vectors take the place of a word, as if the vocabulary knew them."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from farm.errors import CannotRender, RenderError
from farm.queue.claim import ClaimedCheckpoint
from farm.spec.image import AddonRef, TextToImageSpec
from tests.checkpoints import small_checkpoint
from workers.model.pipelines import Pipelines
from workers.model.resident import Resident
from workers.model.weights import PlacedWeights
from workers.sampling.encode_prompts import encode_conditioning

SHA256 = "e" * 64


@pytest.fixture(params=["sd15", "sd2", "sdxl"])
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("checkpoints")


@pytest.fixture
def resident(folder: Path, tmp_path: Path, family: str) -> Resident:
    place = small_checkpoint(family, folder / family)
    weights = PlacedWeights({SHA256: tmp_path / "embedding.safetensors"})
    return Pipelines("cpu", "fp32", weights).load(ClaimedCheckpoint(1, family, family, family, str(place)))


def save(tmp_path: Path, *vectors: torch.Tensor) -> None:
    names = ("clip_l", "clip_g")
    save_file(dict(zip(names, vectors, strict=False)), tmp_path / "embedding.safetensors")


def looked_up(resident: Resident, letters: str) -> list[torch.Tensor]:
    """The vectors that the vocabulary has for letters, for each text encoder."""
    found = []
    for tokenizer, encoder in zip(resident.tokenizers, resident.text_encoders, strict=True):
        ids = tokenizer(letters, add_special_tokens=False).input_ids
        found.append(encoder.get_input_embeddings().weight.detach()[ids].clone())
    return found


def tokens(resident: Resident, prompt: str, name: str = "") -> torch.Tensor:
    embeddings = (AddonRef(name=name, sha256=SHA256),) if name else ()
    spec = TextToImageSpec(checkpoint="small", prompt=prompt, seed=1, embeddings=embeddings)
    return encode_conditioning(resident, spec, 4).positive_at(0)[0][1].hidden_states


def test_vectors_of_the_vocabulary_itself_have_the_effect_of_its_words(resident: Resident, tmp_path: Path) -> None:
    save(tmp_path, *looked_up(resident, "fox"))
    assert torch.equal(tokens(resident, "a thing, red", "thing"), tokens(resident, "a fox, red"))


def test_other_vectors_change_the_encoding_and_leave_the_encoder_as_it_was(
    resident: Resident, tmp_path: Path
) -> None:
    plain = tokens(resident, "a thing")
    save(tmp_path, *(vectors * 3 for vectors in looked_up(resident, "fox")))
    said = tokens(resident, "a thing", "thing")
    resident.texts.clear()
    assert not torch.allclose(said, plain)
    assert torch.equal(tokens(resident, "a thing"), plain)


def test_an_embedding_takes_a_weight(resident: Resident, tmp_path: Path) -> None:
    save(tmp_path, *looked_up(resident, "fox"))
    assert torch.equal(tokens(resident, "a (thing:1.4)", "thing"), tokens(resident, "a (fox:1.4)"))


def test_an_embedding_that_the_prompt_does_not_name_has_no_effect(resident: Resident, tmp_path: Path) -> None:
    save(tmp_path, *looked_up(resident, "fox"))
    assert torch.equal(tokens(resident, "a thing", "other"), tokens(resident, "a thing"))


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ([(2, 50)], r"'thing' does not fit checkpoint .*: it holds clip_l \(2, 50\)"),
        ([(76, 64), (76, 128)], "76 vectors|does not fit"),
        ([(2, 64), (3, 128)], "does not fit"),
        ([(64,), (128,)], "does not fit"),
    ],
)
def test_an_embedding_that_does_not_fit_is_refused_with_the_reason(
    resident: Resident, tmp_path: Path, shapes: Any, message: str
) -> None:
    save(tmp_path, *(torch.zeros(shape) for shape in shapes))
    with pytest.raises(CannotRender, match=message):
        tokens(resident, "a thing", "thing")


def test_a_broken_or_missing_embedding_is_a_failed_attempt(resident: Resident, tmp_path: Path) -> None:
    with pytest.raises(RenderError, match="does not load"):
        tokens(resident, "a thing", "thing")
    (tmp_path / "embedding.safetensors").write_bytes(b"no")
    with pytest.raises(RenderError, match="does not load"):
        tokens(resident, "a thing", "thing")


@pytest.mark.parametrize("said", ["Thing Two", "thing-two", "THING_TWO"])
def test_an_embedding_is_found_however_its_name_is_written(resident: Resident, tmp_path: Path, said: str) -> None:
    save(tmp_path, *looked_up(resident, "fox"))
    assert torch.equal(tokens(resident, f"a ({said}:1.4), red", "thing_two"), tokens(resident, "a (fox:1.4), red"))
