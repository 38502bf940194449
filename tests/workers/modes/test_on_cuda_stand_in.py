"""Renders on a stand-in for a CUDA device, which refuses what a GPU refuses and notes what a GPU waits for."""

import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

from farm.queue.claim import ClaimedCheckpoint
from farm.spec.samplers import SAMPLERS
from tests.checkpoints import small_checkpoint
from tests.workers.stand_in import StandIn, a_stand_in
from tests.workers.studios import STORE, a_mask, a_picture, a_spec_of, upload
from workers.canvas.inputs import StoredInputs
from workers.diffusion import DiffusionRenderer
from workers.model.pipelines import Pipelines
from workers.model.provenance import Machine
from workers.renderer import Picture

PICTURE, MASK = {"image": "the picture"}, {"image": "the picture", "mask": "the mask", "input_size": (64, 64)}
# One pass each: nothing in them may be read back between the first step and the last.
ONE_PASS = [
    ("txt2img", {"prompt": "(a:1.3) AND b:0.5 [c:d:0.5]", "negative_prompt": "x"}),
    ("txt2img", {"guidance_scale": 1}),
    ("img2img", PICTURE),
    ("img2img", {**PICTURE, "resize_mode": "latent", "width": 96}),
    ("inpaint", {**MASK, "masked_content": "latent_noise"}),
    ("inpaint", {**MASK, "area": "masked", "masked_content": "fill"}),
    ("outpaint", {**PICTURE, "width": 96, "right": 32, "mask_blur": 8}),
]
SEVERAL_PASSES = [
    ("txt2img", {"hires": {"scale": 1.5, "upscaler": "Latent (antialiased)"}}),
    ("txt2img", {"hires": {"scale": 1.5, "upscaler": "Lanczos"}}),
    ("upscale", {**PICTURE, "width": 96, "tile": 64, "overlap": 16, "upscaler": "SD upscale"}),
    ("upscale", {**PICTURE, "width": 96, "upscaler": "Lanczos"}),
]
# SD1.5 is what the samplers are tried with.
KINDS = [("sd15-inpaint", "fp16"), ("sdxl", "fp16"), ("sd2-v", "bf16")]


@cache
def renderer_of(family: str, precision: str) -> tuple[DiffusionRenderer, ClaimedCheckpoint]:
    """A renderer whose small checkpoint was moved to the device."""
    folder = small_checkpoint(family, Path(tempfile.mkdtemp(prefix="farm-device-")) / family)
    checkpoint = ClaimedCheckpoint(1, "small", family, f"{family:x<64}", str(folder))
    with a_stand_in():
        renderer = DiffusionRenderer(
            Pipelines("cuda", precision), Machine("it", precision, None), StoredInputs(STORE)
        )
        renderer.load(checkpoint)
    return renderer, checkpoint


@pytest.fixture
def device() -> Iterator[StandIn]:
    with a_stand_in() as device:
        yield device


def render(device: StandIn, kind: tuple[str, str], mode: str, fields: dict[str, Any]) -> tuple[list[Picture], str]:
    """Two images, and what was read back between the first step and the last."""
    uploads = {"the picture": upload(a_picture()), "the mask": upload(a_mask((64, 64), (16, 16, 48, 48)))}
    given = {name: uploads.get(value, value) if isinstance(value, str) else value for name, value in fields.items()}
    renderer, checkpoint = renderer_of(*kind)
    specs = [a_spec_of(mode, seed=seed, **given) for seed in range(2)]
    marks: list[int] = []
    pictures = list(renderer.render(checkpoint, specs, lambda *_: marks.append(len(device.read_back))))
    return pictures, "\n".join(device.read_back[marks[0] : marks[-1]])


@pytest.mark.parametrize(("mode", "fields"), ONE_PASS)
@pytest.mark.parametrize("kind", KINDS, ids="-".join)
def test_a_pass_renders_on_the_device_and_reads_nothing_back_between_its_steps(
    device: StandIn, kind: tuple[str, str], mode: str, fields: dict[str, Any]
) -> None:
    pictures, read_back = render(device, kind, mode, fields)
    assert read_back == ""
    assert all(picture.pixels.std() > 0 for picture in pictures)
    assert device.operations > 1000


@pytest.mark.parametrize(("mode", "fields"), SEVERAL_PASSES)
@pytest.mark.parametrize("kind", KINDS[:2], ids="-".join)
def test_a_render_of_several_passes_stays_on_the_device(
    device: StandIn, kind: tuple[str, str], mode: str, fields: dict[str, Any]
) -> None:
    pictures, _ = render(device, kind, mode, fields)
    assert all(picture.pixels.std() > 0 for picture in pictures)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_no_sampler_reads_back_between_its_steps(device: StandIn, sampler: str) -> None:
    fields = {**MASK, "sampler": sampler, "strength": 0.8, "num_inference_steps": 5}
    read_back = render(device, ("sd15", "bf16"), "inpaint", fields)[1]
    # diffusers' UniPC solves a system of two or three equations on the device, and torch reads whether it could.
    assert [line for line in read_back.splitlines() if line.startswith("aten.") and "linalg" not in line] == []
    assert sampler == "UniPC" or read_back == ""


def test_a_seed_means_one_picture_on_the_device_and_on_the_cpu(device: StandIn) -> None:
    """Of DPM++ SDE too, whose noise diffusers would draw on the device."""
    fields = {"sampler": "DPM++ SDE"}
    [there, *_], _ = render(device, ("sd15", "bf16"), "txt2img", fields)
    _, checkpoint = renderer_of("sd15", "bf16")
    here = DiffusionRenderer(Pipelines("cpu", "fp32"), Machine("cpu", "fp32", 1), StoredInputs(STORE))
    [other] = here.render(checkpoint, [a_spec_of("txt2img", seed=0, **fields)], lambda *_: None)
    assert abs(there.pixels.astype(int) - other.pixels).mean() < 6


def test_the_stand_in_refuses_two_devices_in_one_operation(device: StandIn) -> None:
    with pytest.raises(RuntimeError, match="on the same device"):
        torch.ones(2, device="cuda") + torch.ones(2)
    assert (torch.ones(2, device="cuda") * torch.tensor(2.0)).device.type == "cuda"


def test_the_stand_in_refuses_a_generator_of_the_cpu(device: StandIn) -> None:
    with pytest.raises(RuntimeError, match="generator"):
        torch.randn(2, device="cuda", generator=torch.Generator("cpu"))


def test_the_stand_in_notes_what_is_read_back(device: StandIn) -> None:
    there = torch.ones(3, device="cuda")
    assert not device.read_back
    assert bool(there.all())
    assert there.sum().item() == 3
    assert there.cpu().tolist() == [1, 1, 1]
    assert there[there > 0].shape == (3,)
    assert len(device.read_back) == 4


def test_the_stand_in_overflows_in_half_precision(device: StandIn) -> None:
    assert torch.full((1,), 6e4, dtype=torch.float16, device="cuda").mul(2).isinf().item()
