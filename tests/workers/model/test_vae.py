"""The VAE takes no more precision and no more memory than it needs, and what it was given is not lost meanwhile."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from farm.errors import CannotRender, OutOfMemory
from farm.queue.claim import ClaimedCheckpoint
from farm.spec.image import AddonRef
from tests.checkpoints import small_checkpoint
from tests.workers.stand_in import StandIn, a_stand_in
from tests.workers.studios import STORE, a_mask, a_picture, a_spec_of, upload
from workers.canvas.inputs import StoredInputs
from workers.diffusion import DiffusionRenderer
from workers.model import vae as module
from workers.model.pipelines import Pipelines
from workers.model.provenance import Machine
from workers.model.vae import Vae, VaeNeeds
from workers.model.weights import PlacedWeights
from workers.renderer import Picture
from workers.sampling.latents import NoiseSource, pictures_to_tensor

OTHER = AddonRef(name="other", sha256="d" * 64)
# What the small VAE makes of 64 x 64 pixels (65 x 65 on the way in): 32 channels. Two at once do not fit.
ONE_PICTURE = 32 * 65 * 65
# More than the UNet makes of it, and the picture itself.
NO_PICTURE = 20_000
FREED, SLICED, TILED = "caches freed", "VAE sliced", "VAE sliced and tiled"


@pytest.fixture
def device() -> Iterator[StandIn]:
    with a_stand_in() as device:
        yield device


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_checkpoint("sdxl", tmp_path_factory.mktemp("vae") / "sdxl")


@pytest.fixture
def checkpoint(folder: Path) -> ClaimedCheckpoint:
    return ClaimedCheckpoint(1, "small", "sdxl", "c" * 64, str(folder))


@pytest.fixture
def pipelines(device: StandIn, tmp_path: Path) -> Pipelines:
    return Pipelines("cuda", "fp16", PlacedWeights({OTHER.sha256: tmp_path / "other.safetensors"}))


@pytest.fixture
def renderer(pipelines: Pipelines) -> DiffusionRenderer:
    return DiffusionRenderer(pipelines, Machine("it", "fp16", None), StoredInputs(STORE))


@pytest.fixture
def render(renderer: DiffusionRenderer, checkpoint: ClaimedCheckpoint) -> Callable[..., tuple[list[Picture], int]]:
    """Render, and count the steps."""

    def render_images(count: int = 2, mode: str = "txt2img", **fields: Any) -> tuple[list[Picture], int]:
        steps: list[int] = []
        specs = [a_spec_of(mode, seed=seed, **fields) for seed in range(count)]
        return list(renderer.render(checkpoint, specs, lambda done, _: steps.append(done))), len(steps)

    return render_images


def limit(device: StandIn, elements: int) -> None:
    """Let no result be larger than this."""

    def refuse(_func: Any, results: Sequence[torch.Tensor]) -> None:
        # Weights are there already.
        if any(result.numel() > elements and result.dim() == 4 for result in results):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    device.faults[:] = [refuse]


def test_a_decode_that_does_not_fit_is_sliced_and_nothing_is_denoised_again(device: StandIn, render: Any) -> None:
    limit(device, ONE_PICTURE)
    pictures, steps = render()
    assert steps == 3
    assert pictures[0].relief == (FREED, SLICED)
    assert pictures[0].provenance["bucket"] == 2


def test_slices_show_what_the_whole_would(device: StandIn, render: Any) -> None:
    whole, _ = render()
    limit(device, ONE_PICTURE)
    sliced, _ = render()
    assert np.abs(whole[1].pixels.astype(int) - sliced[1].pixels).max() <= 1


def test_a_decode_that_does_not_fit_alone_is_tiled(
    device: StandIn, render: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_TILE_SIDE", 64)
    limit(device, ONE_PICTURE)
    pictures, steps = render(width=96, height=96)
    assert steps == 3
    assert pictures[0].relief == (FREED, TILED)


def test_the_relief_that_sufficed_is_where_the_next_batch_begins(device: StandIn, render: Any) -> None:
    limit(device, ONE_PICTURE)
    render()
    assert render()[0][0].relief == (SLICED,)
    device.faults.clear()
    assert render(4)[0][0].relief == ()


PICTURE = {"image": "the picture"}


@pytest.mark.parametrize(
    ("mode", "fields", "steps"),
    [
        ("txt2img", {"hires": {"scale": 1.5, "upscaler": "Lanczos", "strength": 1.0}}, 6),
        ("img2img", {**PICTURE, "strength": 1.0, "width": 96, "height": 96}, 3),
        ("inpaint", {**PICTURE, "mask": "the mask", "input_size": (64, 64), "area": "masked", "strength": 1.0}, 3),
        ("outpaint", {**PICTURE, "width": 96, "right": 32, "strength": 1.0}, 3),
        (
            "upscale",
            {**PICTURE, "width": 96, "tile": 64, "overlap": 16, "upscaler": "SD upscale", "strength": 1.0},
            6,
        ),
    ],
)
def test_no_mode_denoises_again_what_the_vae_had_no_room_for(
    device: StandIn, render: Any, monkeypatch: pytest.MonkeyPatch, mode: str, fields: dict[str, Any], steps: int
) -> None:
    monkeypatch.setattr(module, "_TILE_SIDE", 64)
    uploads = {"the picture": upload(a_picture()), "the mask": upload(a_mask((64, 64), (16, 16, 48, 48)))}
    given = {name: uploads.get(value, value) if isinstance(value, str) else value for name, value in fields.items()}
    limit(device, ONE_PICTURE)
    pictures, made = render(mode=mode, **given)
    assert made == steps
    assert pictures[0].relief[0] == FREED


def test_offloading_is_the_last_resort_where_not_even_a_tile_fits(device: StandIn, render: Any) -> None:
    limit(device, NO_PICTURE)
    with pytest.raises(OutOfMemory) as caught:
        render(1, mode="img2img", image=upload(a_picture()))
    assert caught.value.relief == ("offloaded", FREED)


def overflowing(folder: Path, target: Path) -> Path:
    """The checkpoint's VAE, so amplified inside that half precision does not hold it, and no more than that."""
    vae = Pipelines("cpu", "fp32").load(ClaimedCheckpoint(9, "x", "sdxl", "9" * 64, str(folder))).pipeline.vae
    vae.decoder.conv_in.weight.data *= 3e4
    vae.encoder.conv_in.weight.data *= 3e5
    for part in (vae.decoder.conv_in, vae.encoder.conv_in):
        part.weight.data.clamp_(-6e4, 6e4)
    save_file(vae.state_dict(), target)
    return target


def test_a_vae_of_sdxl_that_bears_half_precision_runs_in_it(render: Any, pipelines: Pipelines) -> None:
    [picture, _], _ = render()
    assert picture.provenance["vae_precision"] == "fp16"
    assert pipelines.resident is not None
    assert pipelines.resident.pipeline.vae.dtype == torch.float16


def test_another_vae_of_sdxl_runs_in_half_precision_too(folder: Path, tmp_path: Path, render: Any) -> None:
    vae = Pipelines("cpu", "fp32").load(ClaimedCheckpoint(9, "x", "sdxl", "9" * 64, str(folder))).pipeline.vae
    save_file(vae.state_dict(), tmp_path / "other.safetensors")
    assert render(vae=OTHER)[0][0].provenance["vae_precision"] == "fp16"


def test_a_vae_that_overflows_runs_in_full_precision_from_then_on(
    folder: Path, tmp_path: Path, render: Any, pipelines: Pipelines, device: StandIn
) -> None:
    overflowing(folder, tmp_path / "other.safetensors")
    halves: list[str] = []

    def note(func: Any, results: Sequence[torch.Tensor]) -> None:
        # Only the VAE has anything as large as the picture.
        if (
            results
            and results[0].dtype == torch.float16
            and results[0].shape[-1] == 64
            and "convolution" in str(func)
        ):
            halves.append(str(func))

    device.faults.append(note)
    first = render(vae=OTHER)[0][0]
    assert halves
    halves.clear()
    again = render(vae=OTHER)[0][0]
    pipelines.unload()
    anew = render(vae=OTHER)[0][0]
    assert not halves
    assert [picture.provenance["vae_precision"] for picture in (first, again, anew)] == ["fp32"] * 3
    assert np.array_equal(first.pixels, again.pixels)
    assert np.array_equal(first.pixels, anew.pixels)
    assert first.pixels.std() > 0
    assert render()[0][0].provenance["vae_precision"] == "fp16"


def a_vae(checkpoint: ClaimedCheckpoint, precision: str = "fp16") -> tuple[Vae, VaeNeeds, Any]:
    pipeline = Pipelines("cpu", precision).load(checkpoint).pipeline
    needs = VaeNeeds()
    return Vae(pipeline, "e" * 64, needs), needs, pipeline


def test_an_encode_that_overflows_in_half_precision_is_made_in_full(checkpoint: ClaimedCheckpoint) -> None:
    vae, needs, pipeline = a_vae(checkpoint)
    pipeline.vae.encoder.conv_in.weight.data.mul_(1e5).clamp_(-6e4, 6e4)
    latents = vae.encode(pictures_to_tensor([a_picture()]), NoiseSource.from_seeds([1]).generators)
    assert latents.isfinite().all()
    assert latents.dtype == torch.float16
    assert needs.precisions == {"e" * 64: torch.float32}


def test_latents_without_numbers_are_not_blamed_on_the_vae(checkpoint: ClaimedCheckpoint) -> None:
    vae, needs, pipeline = a_vae(checkpoint)
    noise = NoiseSource.from_seeds([1]).sample_noise((64, 64), pipeline)
    with pytest.raises(CannotRender, match="overflowed"):
        vae.decode(noise * torch.nan)
    assert needs.precisions == {}
    assert pipeline.vae.dtype == torch.float16


def test_a_vae_that_overflows_in_full_precision_too_stays_in_half(checkpoint: ClaimedCheckpoint) -> None:
    vae, needs, pipeline = a_vae(checkpoint)
    pipeline.vae.decoder.conv_out.bias.data.fill_(torch.nan)
    with pytest.raises(CannotRender, match="overflowed"):
        vae.decode(NoiseSource.from_seeds([1]).sample_noise((64, 64), pipeline))
    assert needs.precisions == {}
    assert vae.precision == "fp16"
