"""Which checkpoint is resident, and what is said of one that does not load."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from farm.errors import RenderError
from farm.queue.claim import ClaimedCheckpoint
from farm.spec.families import FAMILIES
from tests.checkpoints import small_checkpoint
from workers.compute.precision import resolve_precision
from workers.model.pipelines import Pipelines

UNET = "unet/diffusion_pytorch_model.safetensors"


@pytest.fixture
def copy_of(demo: ClaimedCheckpoint, tmp_path: Path) -> ClaimedCheckpoint:
    """A checkpoint of its own files, to be broken."""
    shutil.copytree(demo.location, tmp_path / "copy")
    return replace(demo, id=2, name="copy", sha256="b" * 64, location=str(tmp_path / "copy"))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def garble(path: Path) -> None:
    path.write_bytes(b"not what it should be")


def test_no_checkpoint_is_resident_at_first() -> None:
    assert Pipelines("cpu", "auto").resident_id is None


def test_a_resident_checkpoint_is_not_loaded_again(demo: ClaimedCheckpoint) -> None:
    pipelines = Pipelines("cpu", "auto")
    first = pipelines.load(demo)
    assert pipelines.load(replace(demo, id=7, name="the same under another name")) is first
    assert pipelines.resident_id == demo.id


def test_other_weights_take_the_place_of_the_resident_ones(
    demo: ClaimedCheckpoint, copy_of: ClaimedCheckpoint
) -> None:
    pipelines = Pipelines("cpu", "auto")
    first = pipelines.load(demo)
    assert pipelines.load(copy_of) is not first
    assert pipelines.resident_id == copy_of.id


def test_weights_registered_again_as_another_family_are_loaded_anew(demo: ClaimedCheckpoint) -> None:
    pipelines = Pipelines("cpu", "auto")
    pipelines.load(demo)
    assert pipelines.load(replace(demo, id=2, family="sd2-v")).family == FAMILIES["sd2-v"]


def test_a_missing_folder_is_a_failed_attempt_that_names_the_checkpoint(demo: ClaimedCheckpoint) -> None:
    with pytest.raises(RenderError, match="does not find checkpoint 'demo'"):
        Pipelines("cpu", "auto").load(replace(demo, location="/nowhere"))


@pytest.mark.parametrize("damage", [cut, empty, garble, Path.unlink])
@pytest.mark.parametrize(
    "file",
    [
        "model_index.json",
        "scheduler/scheduler_config.json",
        "tokenizer/tokenizer.json",
        "text_encoder/model.safetensors",
        "vae/diffusion_pytorch_model.safetensors",
        UNET,
    ],
)
def test_a_broken_file_is_a_failed_attempt_that_names_the_checkpoint(
    copy_of: ClaimedCheckpoint, file: str, damage: Callable[[Path], None]
) -> None:
    damage(Path(copy_of.location, file))
    with pytest.raises(RenderError, match="Checkpoint 'copy' does not load"):
        Pipelines("cpu", "auto").load(copy_of)


def test_a_failed_load_leaves_no_checkpoint_resident(demo: ClaimedCheckpoint, copy_of: ClaimedCheckpoint) -> None:
    pipelines = Pipelines("cpu", "auto")
    pipelines.load(demo)
    empty(Path(copy_of.location, UNET))
    with pytest.raises(RenderError):
        pipelines.load(copy_of)
    assert pipelines.resident_id is None


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_loads_without_what_it_does_not_need(family: str, tmp_path: Path) -> None:
    folder = small_checkpoint(family, tmp_path / family)
    resident = Pipelines("cpu", "fp32").load(ClaimedCheckpoint(3, "small", family, "c" * 64, str(folder)))
    unneeded = ("safety_checker", "feature_extractor", "image_encoder", "watermark")
    assert resident.family.name == family
    assert all(getattr(resident.pipeline, part, None) is None for part in unneeded)
    assert len(resident.text_encoders) == len(resident.tokenizers) == (2 if resident.family.is_sdxl else 1)


@pytest.mark.parametrize("family", ["sd15", "sdxl"])
def test_a_vae_is_tried_in_half_precision_until_it_is_known_to_overflow(family: str, tmp_path: Path) -> None:
    folder = small_checkpoint(family, tmp_path / family)
    checkpoint = ClaimedCheckpoint(3, "small", family, "c" * 64, str(folder))
    pipelines = Pipelines("cpu", "fp16")
    assert pipelines.load(checkpoint).pipeline.vae.dtype == torch.float16
    pipelines.unload()
    pipelines.vae_needs.precisions[checkpoint.sha256] = torch.float32
    pipeline = pipelines.load(checkpoint).pipeline
    assert (pipeline.vae.dtype, pipeline.unet.dtype) == (torch.float32, torch.float16)


@pytest.mark.parametrize(("family", "message"), [("sd15-inpaint", "takes 4 channels"), ("sd9", "knows no family")])
def test_a_checkpoint_under_a_wrong_family_is_a_failed_attempt(
    demo: ClaimedCheckpoint, family: str, message: str
) -> None:
    with pytest.raises(RenderError, match=message):
        Pipelines("cpu", "auto").load(replace(demo, family=family))


@pytest.mark.parametrize(
    ("wish", "device", "precision"),
    [("auto", "cpu", "fp32"), ("auto", "cuda", "fp16"), ("bf16", "cuda", "bf16"), ("fp32", "cuda", "fp32")],
)
def test_auto_precision_suits_the_device(wish: str, device: str, precision: str) -> None:
    assert resolve_precision(wish, device) == precision
