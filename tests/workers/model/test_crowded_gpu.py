"""A GPU that other residents crowd: they go first, and pixels and records are those of a device that was empty."""

import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest
import torch

from farm.queue.claim import ClaimedCheckpoint
from tests.checkpoints import small_checkpoint
from tests.workers.stand_in import OnDevice, StandIn, a_stand_in
from tests.workers.studios import STORE, a_spec_of
from workers.canvas.inputs import StoredInputs
from workers.compute.budget import FixedBudget
from workers.compute.memory import ImageFootprint, Measures
from workers.diffusion import DiffusionRenderer
from workers.model import pipelines as module
from workers.model.pipelines import Pipelines
from workers.model.provenance import Machine
from workers.renderer import Picture

PLENTY = FixedBudget(2**40)
# What the small VAE makes of 64 x 64 pixels, and half of that.
VAE_SIZED, UNET_SIZED = 2 * 32 * 64 * 64, 2 * 32 * 8 * 8
MESSAGE = "CUDA out of memory. Tried to allocate 2.00 GiB."

Refuse = Callable[[Any, Sequence[torch.Tensor]], bool]


@pytest.fixture
def device() -> Iterator[StandIn]:
    with a_stand_in() as device:
        yield device


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> list[ClaimedCheckpoint]:
    parent = tmp_path_factory.mktemp("crowded")
    return [
        ClaimedCheckpoint(number, family, family, f"{family:x<64}", str(small_checkpoint(family, parent / family)))
        for number, family in enumerate(("sd15", "sd2", "sdxl"), start=1)
    ]


@pytest.fixture
def pipelines(device: StandIn) -> Pipelines:
    return Pipelines("cuda", "bf16", None, PLENTY)


@pytest.fixture
def render(pipelines: Pipelines) -> Callable[[ClaimedCheckpoint], list[Picture]]:
    renderer = DiffusionRenderer(pipelines, Machine("it", "bf16", None), StoredInputs(STORE))

    def render_two(checkpoint: ClaimedCheckpoint) -> list[Picture]:
        specs = [a_spec_of("txt2img", seed=seed) for seed in (1, 2)]
        return list(renderer.render(checkpoint, specs, lambda *_: None))

    return render_two


def crowd(device: StandIn, pipelines: Pipelines, refuse: Refuse) -> None:
    """Let the device lack memory for some results while more than one checkpoint is resident."""

    def fault(func: Any, results: Sequence[torch.Tensor]) -> None:
        if len(pipelines.resident_ids) > 1 and refuse(func, results):
            raise torch.OutOfMemoryError(MESSAGE)

    device.faults[:] = [fault]


def has_size(number: int) -> Refuse:
    return lambda _func, results: any(result.numel() == number and result.dim() == 4 for result in results)


@pytest.mark.parametrize("size", [VAE_SIZED, UNET_SIZED])
def test_other_residents_go_before_anything_is_done_that_enters_pixels(
    device: StandIn, pipelines: Pipelines, checkpoints: list[ClaimedCheckpoint], render: Any, size: int
) -> None:
    alone = render(checkpoints[0])
    pipelines.load(checkpoints[1])
    crowd(device, pipelines, has_size(size))
    crowded = render(checkpoints[0])
    assert pipelines.resident_ids == (1,)
    assert [picture.relief for picture in crowded] == [(), ()]
    assert [picture.provenance for picture in crowded] == [picture.provenance for picture in alone]
    assert all(np.array_equal(one.pixels, other.pixels) for one, other in zip(alone, crowded, strict=True))


def test_the_steps_are_not_made_again_where_only_the_vae_lacked_room(
    device: StandIn, pipelines: Pipelines, checkpoints: list[ClaimedCheckpoint]
) -> None:
    renderer = DiffusionRenderer(pipelines, Machine("it", "bf16", None), StoredInputs(STORE))
    pipelines.load(checkpoints[1])
    crowd(device, pipelines, has_size(VAE_SIZED))
    steps: list[int] = []
    specs = [a_spec_of("txt2img", seed=seed) for seed in (1, 2)]
    renderer.render(checkpoints[0], specs, lambda done, _: steps.append(done))
    assert steps == [1, 2, 3]


def test_other_residents_go_before_a_checkpoint_is_offloaded(
    device: StandIn, pipelines: Pipelines, checkpoints: list[ClaimedCheckpoint]
) -> None:
    pipelines.load(checkpoints[0])

    def full(_func: Any, results: Sequence[torch.Tensor]) -> None:
        if pipelines.resident_ids == (1,):
            raise torch.OutOfMemoryError(MESSAGE)

    device.faults[:] = [full]
    resident = pipelines.load(checkpoints[1])
    assert not resident.is_offloaded
    assert pipelines.resident_ids == (2,)
    assert all(isinstance(parameter, OnDevice) for parameter in resident.pipeline.unet.parameters())


def test_an_offloaded_checkpoint_is_resident_alone(
    device: StandIn, pipelines: Pipelines, checkpoints: list[ClaimedCheckpoint]
) -> None:
    pipelines.load(checkpoints[0])

    def full(_func: Any, _results: Sequence[torch.Tensor]) -> None:
        raise torch.OutOfMemoryError(MESSAGE)

    device.faults[:] = [full]
    assert pipelines.load(checkpoints[1]).is_offloaded
    assert pipelines.resident_ids == (2,)
    device.faults.clear()
    assert not pipelines.load(checkpoints[2]).is_offloaded
    assert pipelines.resident_ids == (3,)


def test_a_render_that_is_offloaded_has_the_device_alone(
    device: StandIn, pipelines: Pipelines, checkpoints: list[ClaimedCheckpoint], monkeypatch: pytest.MonkeyPatch
) -> None:
    renderer = DiffusionRenderer(pipelines, Machine("it", "bf16", None), StoredInputs(STORE))
    pipelines.load(checkpoints[1])
    resident: list[tuple[int, ...]] = []
    first = renderer._ladder.first

    def begin_offloaded(footprint: ImageFootprint, bucket: int, *, is_offloaded: bool) -> Measures:
        return first(footprint, bucket, is_offloaded=True)

    monkeypatch.setattr(renderer._ladder, "first", begin_offloaded)
    renderer.render(checkpoints[0], [a_spec_of("txt2img")], lambda *_: resident.append(pipelines.resident_ids))
    assert set(resident) == {(1,)}


def test_weights_that_lack_room_as_they_are_read_take_that_of_the_others(
    pipelines: Pipelines, checkpoints: list[ClaimedCheckpoint], monkeypatch: pytest.MonkeyPatch
) -> None:
    pipelines.load(checkpoints[0])
    read = module.read_pipeline

    def read_if_alone(*args: Any, **fields: Any) -> Any:
        if pipelines.resident_ids:
            raise RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory")
        return read(*args, **fields)

    monkeypatch.setattr(module, "read_pipeline", read_if_alone)
    pipelines.load(checkpoints[1])
    assert pipelines.resident_ids == (2,)


def test_residents_take_turns_on_the_device(
    pipelines: Pipelines, checkpoints: list[ClaimedCheckpoint], render: Any
) -> None:
    first = [render(checkpoint) for checkpoint in checkpoints]
    again = [render(checkpoint) for checkpoint in reversed(checkpoints)][::-1]
    assert pipelines.resident_ids == (1, 2, 3)
    pairs = [pair for both in zip(first, again, strict=True) for pair in zip(*both, strict=True)]
    assert all(np.array_equal(one.pixels, other.pixels) for one, other in pairs)


def test_a_vae_found_to_overflow_beside_one_resident_is_read_in_full_for_the_others(
    pipelines: Pipelines, checkpoints: list[ClaimedCheckpoint]
) -> None:
    first = pipelines.load(checkpoints[0])
    pipelines.vae_needs.precisions[checkpoints[0].sha256] = torch.float32
    anew = pipelines.load(checkpoints[0])
    assert anew is not first
    assert anew.pipeline.vae.dtype == torch.float32
    assert pipelines.load(checkpoints[0]) is anew


def test_weights_that_are_dropped_are_gone_when_the_allocator_is_asked_to_give_back(
    device: StandIn, checkpoints: list[ClaimedCheckpoint], monkeypatch: pytest.MonkeyPatch
) -> None:
    pipelines = Pipelines("cuda", "bf16")
    former = weakref.ref(pipelines.load(checkpoints[0]).pipeline.unet)
    found: list[Any] = []
    monkeypatch.setattr(module, "free_caches", lambda _device: found.append(former()))
    pipelines.load(checkpoints[1])
    assert found == [None]
