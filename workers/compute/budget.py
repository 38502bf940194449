"""How many bytes of weights may stay on a device, so that what renders beside them has room."""

from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Protocol

import torch

from workers.compute.hostmemory import HostMemory, read_host_memory

# A render of a family takes as much as its largest recent one, and a little more: the allocator rounds up.
_RENDERS_REMEMBERED = 32
_PEAK_FACTOR = 1.1
# While none was seen: SDXL's 1024 px in fours take some 8 GB beside its 7 GB of weights.
_UNKNOWN_PEAK_PART = 0.3
# Half of what is available: N workers of one host then hold N parts of N + 2 together, and two parts stay free.
_HOST_PART = 0.5


class Budget(Protocol):
    """Says how much the residents of a device may take. What is needed now is loaded in any case, alone."""

    def weight_bytes(self, family: str, *, coming_bytes: int = 0) -> int:
        """The bytes that all residents may take while one of this family renders.

        `coming_bytes` of them are about to be loaded.
        """
        ...

    def watch(self, family: str) -> AbstractContextManager[None]:
        """Note how much memory a render of the family takes beside weights."""
        ...

    def note_dropped(self, weight_bytes: int) -> None:
        """Weights were dropped, perhaps while a render is watched: they are no part of what it takes."""
        ...


@dataclass(frozen=True)
class FixedBudget:
    """So many bytes, whatever happens."""

    limit: int

    def weight_bytes(self, family: str, *, coming_bytes: int = 0) -> int:
        return self.limit

    def watch(self, family: str) -> AbstractContextManager[None]:
        return nullcontext()

    def note_dropped(self, weight_bytes: int) -> None:
        """Nothing is measured."""


ONE_RESIDENT = FixedBudget(0)
"""Nothing stays beside the checkpoint that is needed."""


@dataclass(frozen=True)
class HostBudget:
    """A part of the memory that the host has available when it is asked: others may have taken some meanwhile."""

    read: Callable[[], HostMemory] = read_host_memory

    def weight_bytes(self, family: str, *, coming_bytes: int = 0) -> int:
        return int((self.read().available - coming_bytes) * _HOST_PART)

    def watch(self, family: str) -> AbstractContextManager[None]:
        return nullcontext()

    def note_dropped(self, weight_bytes: int) -> None:
        """What is available is asked for each time."""


class DeviceMemory(Protocol):
    """The memory of a CUDA device as torch's allocator of this process sees it, in bytes."""

    def usable(self) -> int:
        """What this process has, and what is free: other processes may use the same device."""
        ...

    def allocated(self) -> int:
        """What tensors take now."""
        ...

    def begin_peak(self) -> None:
        """Look for a peak from now on."""
        ...

    def peak(self) -> int:
        """The most that tensors took since then."""
        ...


class CudaMemory:
    """The device of this process."""

    def usable(self) -> int:
        return torch.cuda.mem_get_info()[0] + torch.cuda.memory_reserved()

    def allocated(self) -> int:
        return torch.cuda.memory_allocated()

    def begin_peak(self) -> None:
        torch.cuda.reset_peak_memory_stats()

    def peak(self) -> int:
        return torch.cuda.max_memory_allocated()


class CudaBudget:
    """What the device has for this process, less what the largest recent render of the family took for itself.

    At most `limit` bytes, where one is given.
    """

    def __init__(self, memory: DeviceMemory, limit: int | None = None) -> None:
        self._memory = memory
        self._limit = limit
        self._peaks: dict[str, deque[int]] = defaultdict(lambda: deque(maxlen=_RENDERS_REMEMBERED))
        self._weight_bytes = 0

    def weight_bytes(self, family: str, *, coming_bytes: int = 0) -> int:
        usable, peaks = self._memory.usable(), self._peaks[family]
        margin = _PEAK_FACTOR * max(peaks) if peaks else _UNKNOWN_PEAK_PART * usable
        room = max(0, int(usable - margin))
        return room if self._limit is None else min(room, self._limit)

    @contextmanager
    def watch(self, family: str) -> Iterator[None]:
        """One that raised is not counted: it may have ended before its peak."""
        self._memory.begin_peak()
        self._weight_bytes = self._memory.allocated()
        yield
        self._peaks[family].append(self._memory.peak() - self._weight_bytes)

    def note_dropped(self, weight_bytes: int) -> None:
        self._memory.begin_peak()
        self._weight_bytes -= weight_bytes


def choose_budget(device: str, resident_bytes: int) -> Budget:
    """The budget that was asked for in bytes; 0 lets the machine decide. A GPU keeps room for renders always."""
    if device == "cuda":
        return CudaBudget(CudaMemory(), resident_bytes or None)
    return FixedBudget(resident_bytes) if resident_bytes else HostBudget()


def memory_bytes(device: str) -> int:
    """The memory that one checkpoint and its render may use: a GPU's, or the host's as far as this process may."""
    if device == "cuda":
        return torch.cuda.mem_get_info()[1]
    return read_host_memory().total
