"""How many bytes of weights may stay on a device."""

from contextlib import suppress
from dataclasses import dataclass

import pytest
import torch

from workers.compute.budget import (
    ONE_RESIDENT,
    CudaBudget,
    FixedBudget,
    HostBudget,
    choose_budget,
    memory_bytes,
)
from workers.compute.hostmemory import HostMemory, read_host_memory

GIB = 2**30


@dataclass
class FakeMemory:
    """A GPU's allocator, of which the test says what it holds."""

    room: int = 100
    held: int = 0
    most: int = 0

    def usable(self) -> int:
        return self.room

    def allocated(self) -> int:
        return self.held

    def begin_peak(self) -> None:
        self.most = self.held

    def peak(self) -> int:
        return self.most

    def use(self, nbytes: int) -> None:
        self.most = max(self.most, self.held + nbytes)


def render(budget: CudaBudget, memory: FakeMemory, nbytes: int, family: str = "sdxl") -> None:
    with budget.watch(family):
        memory.use(nbytes)


def test_nothing_stays_beside_the_one_that_is_needed_unless_there_is_a_budget() -> None:
    assert ONE_RESIDENT.weight_bytes("sdxl") == 0


def test_half_of_the_available_memory_of_a_host_may_be_weights() -> None:
    budget = HostBudget(lambda: HostMemory(16 * GIB, 8 * GIB))
    assert budget.weight_bytes("sd15") == 4 * GIB
    assert budget.weight_bytes("sd15", coming_bytes=2 * GIB) == 3 * GIB


def test_workers_that_share_a_host_leave_it_room_however_many_they_are() -> None:
    total, held = 90 * GIB, [0] * 7
    for _round in range(100):
        for worker in range(7):
            available = total - sum(held)
            if HostBudget(lambda: HostMemory(total, available)).weight_bytes("sd15") >= held[worker] + GIB:  # noqa: B023 - called at once
                held[worker] += GIB
    assert total - sum(held) >= 2 / 9 * total


def test_a_gpu_keeps_room_for_the_largest_recent_render_of_the_family() -> None:
    memory = FakeMemory(room=100, held=20)
    budget = CudaBudget(memory)
    render(budget, memory, 40)
    render(budget, memory, 10)
    render(budget, memory, 70, family="sd2")
    assert budget.weight_bytes("sdxl") == 56
    assert budget.weight_bytes("sd2") == 23


def test_a_gpu_keeps_a_part_for_renders_while_none_of_the_family_was_seen() -> None:
    assert CudaBudget(FakeMemory(room=100)).weight_bytes("sdxl") == 70


def test_a_large_render_is_forgotten_after_many_small_ones() -> None:
    memory = FakeMemory()
    budget = CudaBudget(memory)
    render(budget, memory, 90)
    for _ in range(32):
        render(budget, memory, 10)
    assert budget.weight_bytes("sdxl") == 89


def test_weights_that_are_dropped_during_a_render_are_no_part_of_its_peak() -> None:
    memory = FakeMemory(room=100, held=60)
    budget = CudaBudget(memory)
    with budget.watch("sdxl"):
        memory.use(40)
        memory.held -= 50
        budget.note_dropped(50)
        memory.use(50)
    assert budget.weight_bytes("sdxl") == 44


def test_a_render_that_failed_says_nothing_of_its_peak() -> None:
    memory = FakeMemory()
    budget = CudaBudget(memory)
    with suppress(torch.OutOfMemoryError), budget.watch("sdxl"):
        memory.use(90)
        raise torch.OutOfMemoryError
    assert budget.weight_bytes("sdxl") == 70


def test_a_gpu_takes_no_more_than_was_asked_for() -> None:
    assert CudaBudget(FakeMemory(), limit=30).weight_bytes("sdxl") == 30
    assert CudaBudget(FakeMemory(room=20), limit=30).weight_bytes("sdxl") == 14


def test_what_a_gpu_is_too_full_for_is_nothing() -> None:
    memory = FakeMemory(room=50)
    budget = CudaBudget(memory)
    render(budget, memory, 70)
    assert budget.weight_bytes("sdxl") == 0


@pytest.mark.parametrize(
    ("device", "asked", "kind"),
    [("cpu", 0, HostBudget), ("cpu", 5, FixedBudget), ("cuda", 0, CudaBudget), ("cuda", 5, CudaBudget)],
)
def test_the_budget_suits_the_device_unless_it_is_set(device: str, asked: int, kind: type) -> None:
    assert isinstance(choose_budget(device, asked), kind)


def test_the_memory_of_a_processor_is_the_hosts() -> None:
    assert memory_bytes("cpu") == read_host_memory().total
