"""Weights that come next are brought to this host beside the render, and never in its way."""

import os
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from farm.errors import StoreOutage
from farm.queue.claim import ClaimedCheckpoint
from tests.factories import stored_files
from tests.fakes import MemoryStore
from tests.waiting import wait_until
from tests.workers.studios import STORE
from workers.canvas.inputs import StoredInputs
from workers.compute.hostmemory import HostMemory
from workers.diffusion import DiffusionRenderer
from workers.model import readahead as module
from workers.model.pipelines import Pipelines
from workers.model.provenance import Machine
from workers.model.readahead import ReadAhead
from workers.model.weights import PlacedWeights
from workers.model.weights_cache import CachedWeights, FetchCalledOff

PLENTY = HostMemory(2**40, 2**40)


class PausingStore(MemoryStore):
    """Waits before each fetch until the test lets it go on; `fetched` are the keys in their order."""

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.begun = threading.Semaphore(0)
        self.go_on = threading.Semaphore(0)

    def fetch_file(self, key: str, path: Path) -> None:
        self.fetched.append(key)
        self.begun.release()
        assert self.go_on.acquire(timeout=30)
        super().fetch_file(key, path)


@pytest.fixture
def store() -> PausingStore:
    return PausingStore()


@pytest.fixture
def open_cache(store: PausingStore, tmp_path: Path) -> Callable[[Callable[[], bool]], CachedWeights]:
    return lambda may_fetch: CachedWeights(store, tmp_path / "cache", 2**30, None, may_fetch)


@pytest.fixture
def ahead(open_cache: Callable[[Callable[[], bool]], CachedWeights]) -> ReadAhead:
    return ReadAhead(open_cache, lambda: PLENTY)


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that are read through, by their paths in the checkpoint's folder."""
    found: list[str] = []
    through = ReadAhead._read_through

    def note(self: ReadAhead, file: Path, buffer: bytearray) -> bool:
        found.append(f"{file.parent.name}/{file.name}")
        return through(self, file, buffer)

    monkeypatch.setattr(ReadAhead, "_read_through", note)
    return found


def a_checkpoint(store: MemoryStore, name: str) -> ClaimedCheckpoint:
    contents = {
        "model_index.json": b"{}",
        **{f"{part}/model.safetensors": f"{name}{part}".encode() for part in ("unet", "vae")},
    }
    return ClaimedCheckpoint(ord(name), name, "sd15", name * 64, "store:weights", stored_files(store, contents))


def is_idle(ahead: ReadAhead) -> bool:
    """Whether nothing is wished for, and nothing read."""
    with ahead._changed:
        return ahead._wish is None and ahead._being_read is None


def wait_until_idle(ahead: ReadAhead) -> None:
    wait_until(lambda: is_idle(ahead), 30)


def test_weights_are_fetched_and_read_through(ahead: ReadAhead, store: PausingStore, read: list[str]) -> None:
    store.go_on.release(3)
    ahead.wish(a_checkpoint(store, "a"))
    wait_until_idle(ahead)
    assert len(store.fetched) == 3
    assert read == ["unet/model.safetensors", "vae/model.safetensors"]


def test_a_wish_returns_while_the_store_is_slow(ahead: ReadAhead, store: PausingStore) -> None:
    ahead.wish(a_checkpoint(store, "a"))
    assert store.begun.acquire(timeout=30)
    assert not is_idle(ahead)
    store.go_on.release(3)
    wait_until_idle(ahead)


def test_what_was_read_is_not_read_again(ahead: ReadAhead, store: PausingStore, read: list[str]) -> None:
    checkpoint = a_checkpoint(store, "a")
    store.go_on.release(3)
    for _ in range(3):
        ahead.wish(replace(checkpoint))
        wait_until_idle(ahead)
    assert len(read) == 2


def test_a_wish_that_is_repeated_is_not_begun_again(ahead: ReadAhead, store: PausingStore, read: list[str]) -> None:
    checkpoint = a_checkpoint(store, "a")
    ahead.wish(checkpoint)
    assert store.begun.acquire(timeout=30)
    ahead.wish(replace(checkpoint))
    store.go_on.release(3)
    wait_until_idle(ahead)
    assert (len(store.fetched), len(read)) == (3, 2)


def test_a_newer_wish_calls_off_the_one_before(ahead: ReadAhead, store: PausingStore, read: list[str]) -> None:
    first, second = a_checkpoint(store, "a"), a_checkpoint(store, "b")
    ahead.wish(first)
    assert store.begun.acquire(timeout=30)
    ahead.wish(second)
    store.go_on.release(4)
    wait_until_idle(ahead)
    assert second.files is not None
    # The model's index is the same file in both.
    assert len(store.fetched) == len({*store.fetched, *(file.key for file in second.files)}) == 3
    assert len(read) == 2


def test_a_store_that_is_away_is_no_error_and_may_be_back_for_the_next_wish(
    ahead: ReadAhead, store: PausingStore, monkeypatch: pytest.MonkeyPatch, read: list[str]
) -> None:
    def refuse(_key: str, _path: Path) -> None:
        raise StoreOutage("InternalError")

    with monkeypatch.context() as patched:
        patched.setattr(store, "fetch_file", refuse)
        ahead.wish(a_checkpoint(store, "a"))
        wait_until_idle(ahead)
    assert read == []
    store.go_on.release(3)
    ahead.wish(a_checkpoint(store, "a"))
    wait_until_idle(ahead)
    assert len(read) == 2


def test_weights_that_would_push_out_most_of_what_is_cached_are_not_read(
    open_cache: Callable[[Callable[[], bool]], CachedWeights], store: PausingStore, read: list[str]
) -> None:
    ahead = ReadAhead(open_cache, lambda: HostMemory(2**40, 15))
    ahead.wish(a_checkpoint(store, "a"))
    wait_until_idle(ahead)
    assert (store.fetched, read) == ([], [])


def test_a_checkpoint_registered_in_place_is_read_where_it_is(demo: ClaimedCheckpoint, read: list[str]) -> None:
    ahead = ReadAhead(lambda _: PlacedWeights(), lambda: PLENTY)
    ahead.wish(demo)
    wait_until_idle(ahead)
    assert {path.split("/")[0] for path in read} == {"unet", "vae", "text_encoder"}


def test_a_folder_that_is_gone_is_no_error(demo: ClaimedCheckpoint, read: list[str]) -> None:
    ahead = ReadAhead(lambda _: PlacedWeights(), lambda: PLENTY)
    ahead.wish(replace(demo, location="/nowhere"))
    wait_until_idle(ahead)
    assert read == []


def test_what_is_read_ahead_is_not_evicted_before_it_is_used(store: PausingStore, tmp_path: Path) -> None:
    store.go_on.release(9)
    ahead = ReadAhead(lambda may: CachedWeights(store, tmp_path / "cache", 1, None, may), lambda: PLENTY)
    ahead.wish(a_checkpoint(store, "a"))
    wait_until_idle(ahead)
    render = CachedWeights(store, tmp_path / "cache", 1)
    render.folder_of(a_checkpoint(store, "b"))
    assert render.has(a_checkpoint(store, "a"))


def test_nothing_is_fetched_that_is_called_off(store: PausingStore, tmp_path: Path) -> None:
    weights = CachedWeights(store, tmp_path / "cache", 2**30, None, lambda: False)
    with pytest.raises(FetchCalledOff):
        weights.folder_of(a_checkpoint(store, "a"))
    assert store.fetched == []


def test_a_resident_checkpoint_is_not_read_ahead(demo: ClaimedCheckpoint, read: list[str]) -> None:
    ahead = ReadAhead(lambda _: PlacedWeights(), lambda: PLENTY)
    renderer = DiffusionRenderer(
        Pipelines("cpu", "fp32"), Machine("it", "fp32", 1), StoredInputs(STORE), ahead=ahead
    )
    renderer.load(demo)
    renderer.read_ahead(demo)
    wait_until_idle(ahead)
    assert read == []
    renderer.read_ahead(replace(demo, id=2, sha256="f" * 64))
    wait_until_idle(ahead)
    assert len(read) == 3


@pytest.mark.skipif("not hasattr(os, 'sched_getaffinity')", reason="threads have priorities of their own on Linux")
def test_the_thread_that_reads_ahead_steps_back_and_no_other_does(
    demo: ClaimedCheckpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[int] = []
    step_back = module._step_back

    def note() -> None:
        step_back()
        found.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))

    monkeypatch.setattr(module, "_step_back", note)
    before = os.getpriority(os.PRIO_PROCESS, 0)
    ahead = ReadAhead(lambda _: PlacedWeights(), lambda: PLENTY)
    ahead.wish(demo)
    wait_until_idle(ahead)
    assert found == [module._NICENESS]
    assert os.getpriority(os.PRIO_PROCESS, 0) == before
