"""What a worker does when memory runs out, and that a later job does not suffer for it."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch

from farm.errors import OutOfMemory
from farm.queue.claim import ClaimedCheckpoint
from tests.factories import a_spec
from tests.workers.studios import a_spec_of
from workers.canvas.inputs import NoInputs
from workers.compute.memory import Measures, MemoryLadder, image_footprint, is_out_of_memory
from workers.diffusion import DiffusionRenderer
from workers.model.pipelines import Pipelines
from workers.model.provenance import Machine
from workers.modes import RENDERS, txt2img
from workers.renderer import OnStep, Picture
from workers.sampling.context import RenderContext

SMALL = {"width": 64, "height": 64, "num_inference_steps": 2}
CUDA_WORDS = "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 7.79 GiB"

MACHINE = Machine("a processor", "fp32", 1)

Render = Callable[..., Sequence[Picture]]


def unheard(_step: int, _steps: int) -> None:
    """Nobody asks how far it is."""


@pytest.fixture
def render(pipelines: Pipelines, demo: ClaimedCheckpoint) -> Render:
    """Render so many small images on one renderer, which remembers."""
    renderer = DiffusionRenderer(pipelines, MACHINE, NoInputs())

    def render_images(count: int, **fields: Any) -> Sequence[Picture]:
        specs = [a_spec(**{**SMALL, "seed": seed, **fields}) for seed in range(count)]
        return renderer.render(demo, specs, unheard)

    return render_images


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The buckets of the pipeline calls that are made."""
    made: list[int] = []

    def noting(context: RenderContext, specs: Sequence[Any], on_step: OnStep) -> list[np.ndarray]:
        made.append(len(specs))
        return txt2img.render(context, specs, on_step)

    monkeypatch.setitem(RENDERS, "txt2img", noting)
    return made


@pytest.fixture
def fits(monkeypatch: pytest.MonkeyPatch, calls: list[int]) -> Callable[..., None]:
    """Let memory suffice for no more than this."""
    plain = RENDERS["txt2img"]

    def allow(*, images: int) -> None:
        def render(context: RenderContext, specs: Sequence[Any], on_step: OnStep) -> list[np.ndarray]:
            if len(specs) > images:
                calls.append(len(specs))
                raise torch.OutOfMemoryError(CUDA_WORDS)
            return plain(context, specs, on_step)

        monkeypatch.setitem(RENDERS, "txt2img", render)

    return allow


def test_a_batch_with_enough_memory_takes_no_relief(render: Render, calls: list[int]) -> None:
    pictures = render(4)
    assert calls == [4]
    assert {picture.relief for picture in pictures} == {()}
    assert "relief" not in pictures[0].provenance


def test_caches_are_freed_before_anything_else(render: Render, calls: list[int], fits: Any) -> None:
    fits(images=2)
    render(4)
    assert calls == [4, 4, 2, 2]


def test_cached_vaes_are_dropped_first(render: Render, fits: Any, pipelines: Pipelines) -> None:
    assert pipelines.resident is not None
    pipelines.resident.vaes.take("f" * 64, lambda: "of another job")
    fits(images=1)
    render(2)
    assert len(pipelines.resident.vaes) == 0


def test_every_image_is_rendered_in_its_place(render: Render, fits: Any) -> None:
    alone = [render(1, seed=seed)[0].pixels for seed in range(3)]
    fits(images=1)
    pictures = render(3)
    assert all(np.array_equal(a, b.pixels) for a, b in zip(alone, pictures, strict=True))


def test_the_memory_relief_is_recorded_with_image_and_attempt(render: Render, fits: Any) -> None:
    fits(images=2)
    picture = render(3)[0]
    assert picture.relief == ("caches freed", "bucket 2 instead of 4")
    assert picture.provenance["relief"] == list(picture.relief)
    assert picture.provenance["bucket"] == 2


def test_the_bucket_is_remembered_for_the_same_checkpoint_and_size(
    render: Render, calls: list[int], fits: Any
) -> None:
    fits(images=2)
    render(4)
    calls.clear()
    render(4)
    assert calls == [2, 2]


def test_a_large_batch_after_a_small_one_is_rendered_in_large_calls(render: Render, calls: list[int]) -> None:
    render(1)
    assert render(4)[0].relief == ()
    assert calls == [1, 4]


def test_caches_freed_for_a_small_batch_are_not_remembered_for_large_ones() -> None:
    ladder, begun = MemoryLadder(), Measures(1)
    ladder.note(("sha", 64, 64), begun, Measures(1, are_caches_freed=True))
    assert ladder.first(("sha", 64, 64), 4, is_offloaded=False) == Measures(4)


def test_another_size_is_not_held_back(render: Render, calls: list[int], fits: Any) -> None:
    fits(images=2)
    render(4)
    fits(images=16)
    calls.clear()
    render(4, width=72)
    assert calls == [4]


def test_an_image_that_fits_in_no_way_fails_with_the_memory_it_needs(render: Render, fits: Any) -> None:
    fits(images=0)
    with pytest.raises(OutOfMemory, match=r"64 x 64 does not fit .* Tried to allocate 2\.00 GiB"):
        render(2)


def test_a_later_job_is_rendered_as_if_nothing_had_happened(render: Render, fits: Any) -> None:
    before = render(1, seed=3)[0]
    fits(images=0)
    with pytest.raises(OutOfMemory):
        render(1, width=72)
    fits(images=16)
    after = render(1, seed=3)[0]
    assert np.array_equal(before.pixels, after.pixels)
    assert after.relief == ()


def test_another_error_is_not_taken_for_a_lack_of_memory(render: Render, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> list[np.ndarray]:
        raise RuntimeError("the device broke")

    monkeypatch.setitem(RENDERS, "txt2img", broken)
    with pytest.raises(RuntimeError, match="the device broke"):
        render(1)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError(CUDA_WORDS), True),
        (RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR"), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_NOT_INITIALIZED"), True),
        (RuntimeError("FIND was unable to find an engine to execute this computation"), True),
        (RuntimeError("GET was unable to find an engine to execute this computation"), True),
        (RuntimeError("Unable to find a valid cuDNN algorithm to run convolution"), True),
        (torch.AcceleratorError("CUDA error: out of memory"), True),
        (torch.AcceleratorError("CUDA error: an illegal memory access was encountered"), False),
        (RuntimeError("shapes do not match"), False),
        (MemoryError(), False),
    ],
)
def test_a_lack_of_memory_is_recognised_by_class_or_message(error: Exception, expected: bool) -> None:
    assert is_out_of_memory(error) is expected


def test_a_gpu_offloads_before_it_gives_up() -> None:
    top = Measures(1, are_caches_freed=True)
    assert top.harder(can_offload=False) is None
    offloaded = top.harder(can_offload=True)
    assert offloaded is not None
    assert offloaded.is_offloaded
    assert offloaded.harder(can_offload=True) is None


def test_a_vae_that_fits_not_even_in_tiles_is_not_helped_by_small_batches() -> None:
    assert Measures(8).harder(can_offload=True, is_vae=True) == Measures(8, is_offloaded=True)
    assert Measures(8).harder(can_offload=False, is_vae=True) is None


def test_a_checkpoint_that_was_offloaded_to_be_loaded_begins_offloaded() -> None:
    assert MemoryLadder().first(("sha", 64, 64), 4, is_offloaded=True) == Measures(4, is_offloaded=True)


@pytest.mark.parametrize(
    ("mode", "fields", "size"),
    [
        ("txt2img", {"width": 72}, (72, 64)),
        ("txt2img", {"hires": {"scale": 2}}, (128, 128)),
        ("upscale", {"image": "0" * 64, "width": 512, "height": 64, "tile": 96, "overlap": 16}, (96, 64)),
        ("outpaint", {"image": "0" * 64, "width": 512}, (512, 64)),
    ],
)
def test_the_largest_size_that_goes_through_the_unet_is_remembered(
    mode: str, fields: dict[str, Any], size: tuple[int, int]
) -> None:
    assert image_footprint("sha", a_spec_of(mode, **fields)) == ("sha", *size)
