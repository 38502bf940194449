"""Weights from the store on a host, with all its workers at it."""

import hashlib
import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from errno import ENOSPC
from pathlib import Path

import pytest

from farm.errors import RenderError, StoreAway, StoreError, StoreOutage, StoreRefused
from farm.queue.claim import ClaimedCheckpoint
from farm.store.disk import DiskStore
from farm.store.keys import weights_key
from farm.store.links import LinkSigner
from tests.factories import stored_files
from tests.fakes import MemoryStore
from workers.model.weights_cache import CachedWeights

GIB = 2**30
SHARED = b"a vae that many share"


class CountingStore(MemoryStore):
    """Remembers what was fetched; the first fetches may go wrong."""

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.errors: list[Exception] = []
        self.damaged = 0

    def fetch_file(self, key: str, path: Path) -> None:
        self.fetched.append(key)
        if self.errors:
            raise self.errors.pop(0)
        super().fetch_file(key, path)
        if self.damaged:
            self.damaged -= 1
            path.write_bytes(b"x" * path.stat().st_size)


@pytest.fixture
def remote() -> CountingStore:
    return CountingStore()


@pytest.fixture
def weights(remote: CountingStore, tmp_path: Path) -> Iterator[CachedWeights]:
    weights = CachedWeights(remote, tmp_path / "cache", GIB)
    yield weights
    weights.close()


def a_checkpoint(store: MemoryStore, name: str = "a", size: int = 100) -> ClaimedCheckpoint:
    contents = {"unet/w.safetensors": name.encode() * size, "vae/w.safetensors": SHARED, "vae_2/w.st": SHARED}
    return ClaimedCheckpoint(1, name, "sd15", "a" * 64, "store:weights", stored_files(store, contents))


def an_addon(store: MemoryStore, content: bytes) -> str:
    return stored_files(store, {"a": content})[0].sha256


def age(folder: Path) -> None:
    """Time passes: all that lies in the cache was used an hour longer ago."""
    for lock in (folder / "cache" / "locks").iterdir():
        os.utime(lock, (lock.stat().st_atime, lock.stat().st_mtime - 3600))


class TestFolders:
    def test_a_checkpoint_is_laid_out_as_it_was_added(self, weights: CachedWeights, remote: CountingStore) -> None:
        folder = weights.folder_of(a_checkpoint(remote))
        assert (folder / "unet" / "w.safetensors").read_bytes() == b"a" * 100
        assert (folder / "vae" / "w.safetensors").samefile(folder / "vae_2" / "w.st")

    def test_each_file_is_fetched_once(self, weights: CachedWeights, remote: CountingStore) -> None:
        for name in "aba":
            weights.folder_of(a_checkpoint(remote, name))
        assert len(remote.fetched) == len(set(remote.fetched)) == 3

    def test_a_checkpoint_is_here_once_all_its_files_are(
        self, weights: CachedWeights, remote: CountingStore
    ) -> None:
        checkpoint, other = a_checkpoint(remote), a_checkpoint(remote, "b")
        assert not weights.has(checkpoint)
        folder = weights.folder_of(checkpoint)
        assert weights.has(checkpoint)
        assert weights.has(replace(checkpoint, files=(checkpoint.files or ())[1:]))
        assert not weights.has(other)
        (folder / "unet" / "w.safetensors").write_bytes(b"cut")
        assert not weights.has(checkpoint)

    def test_a_folder_registered_in_place_is_used_where_it_is(self, weights: CachedWeights, tmp_path: Path) -> None:
        placed = ClaimedCheckpoint(1, "a", "sd15", "a" * 64, str(tmp_path))
        assert weights.folder_of(placed) == tmp_path
        with pytest.raises(RenderError, match="does not find checkpoint 'a' at its registered place"):
            weights.folder_of(replace(placed, location="/nowhere"))

    def test_other_files_under_the_same_name_get_another_folder(
        self, weights: CachedWeights, remote: CountingStore
    ) -> None:
        one, other = a_checkpoint(remote, "a"), a_checkpoint(remote, "b")
        assert weights.folder_of(one) != weights.folder_of(replace(one, files=other.files))

    @pytest.mark.parametrize("damage", [lambda path: os.truncate(path, 3), lambda path: path.unlink()])
    def test_a_file_cut_short_in_the_cache_is_fetched_again(
        self, damage: object, weights: CachedWeights, remote: CountingStore
    ) -> None:
        checkpoint = a_checkpoint(remote)
        damage(weights.folder_of(checkpoint) / "unet" / "w.safetensors")  # type: ignore[operator]
        assert (weights.folder_of(checkpoint) / "unet" / "w.safetensors").read_bytes() == b"a" * 100

    def test_files_in_a_store_on_this_disk_are_not_copied(self, tmp_path: Path) -> None:
        store = DiskStore(tmp_path / "store", LinkSigner("a secret key for tests only"))
        checkpoint = a_checkpoint(store)  # type: ignore[arg-type]
        file = CachedWeights(store, tmp_path / "cache", GIB).folder_of(checkpoint) / "unet" / "w.safetensors"
        assert checkpoint.files is not None
        assert file.samefile(tmp_path / "store" / checkpoint.files[0].key)


class TestFiles:
    def test_a_file_is_known_by_its_hash(self, weights: CachedWeights, remote: CountingStore) -> None:
        sha256 = an_addon(remote, b"a lora")
        assert [weights.file_of(sha256).read_bytes() for _ in range(2)] == [b"a lora"] * 2
        assert remote.fetched == [weights_key(sha256)]

    def test_a_file_damaged_in_the_cache_is_fetched_again(
        self, weights: CachedWeights, remote: CountingStore, tmp_path: Path
    ) -> None:
        sha256 = an_addon(remote, b"a lora")
        weights.file_of(sha256).write_bytes(b"A LORA")
        assert CachedWeights(remote, tmp_path / "cache", GIB).file_of(sha256).read_bytes() == b"a lora"

    def test_the_files_in_use_are_bounded(self, weights: CachedWeights, remote: CountingStore) -> None:
        before = len(os.listdir("/proc/self/fd"))
        for number in range(100):
            weights.file_of(an_addon(remote, str(number).encode()))
        assert len(os.listdir("/proc/self/fd")) < before + 40


class TestTroubles:
    def test_a_file_damaged_on_its_way_is_fetched_once_more(
        self, weights: CachedWeights, remote: CountingStore
    ) -> None:
        remote.damaged = 1
        assert weights.file_of(an_addon(remote, b"a lora")).read_bytes() == b"a lora"

    def test_a_file_damaged_in_the_store_is_named(
        self, weights: CachedWeights, remote: CountingStore, tmp_path: Path
    ) -> None:
        remote.damaged = 9
        sha256 = an_addon(remote, b"a lora")
        with pytest.raises(RenderError, match=f"The file weights/{sha256} is damaged in the store"):
            weights.file_of(sha256)
        assert not list((tmp_path / "cache").rglob("file*/*"))

    def test_a_store_that_is_away_may_be_back_for_the_next_attempt(
        self, weights: CachedWeights, remote: CountingStore
    ) -> None:
        remote.errors = [StoreError("Could not read: Connection refused")]
        checkpoint = a_checkpoint(remote)
        with pytest.raises(RenderError, match=r"'a' cannot be brought to this worker: .*refused") as caught:
            weights.folder_of(checkpoint)
        assert caught.value.is_retryable
        assert weights.folder_of(checkpoint).is_dir()

    def test_a_checkpoint_missing_from_the_store_is_reported(
        self, weights: CachedWeights, remote: CountingStore
    ) -> None:
        checkpoint = a_checkpoint(remote)
        remote.objects.clear()
        with pytest.raises(RenderError, match="Checkpoint 'a' is not in the store any more; add it again"):
            weights.folder_of(checkpoint)

    @pytest.mark.parametrize("error", [StoreOutage("InternalError"), StoreRefused("AccessDenied")])
    def test_an_outage_of_the_store_is_not_taken_for_missing_weights(
        self, weights: CachedWeights, remote: CountingStore, error: StoreError
    ) -> None:
        checkpoint, lora = a_checkpoint(remote), an_addon(remote, b"a lora")
        remote.errors = [error, error]
        with pytest.raises(StoreAway, match=f"Checkpoint 'a' cannot be read from the store now. {error}"):
            weights.folder_of(checkpoint)
        with pytest.raises(StoreAway, match=f"The file {lora[:10]} cannot be read"):
            weights.file_of(lora)

    def test_cached_weights_are_used_while_the_store_is_away(
        self, weights: CachedWeights, remote: CountingStore
    ) -> None:
        checkpoint = a_checkpoint(remote)
        folder = weights.folder_of(checkpoint)
        remote.errors = [StoreOutage()]
        with pytest.raises(StoreAway):
            weights.folder_of(a_checkpoint(remote, "b"))
        assert weights.folder_of(checkpoint) == folder

    def test_a_full_disk_is_cleared_of_unused_weights(
        self, weights: CachedWeights, remote: CountingStore, tmp_path: Path
    ) -> None:
        old = weights.folder_of(a_checkpoint(remote, "a"))
        remote.errors = [disk_full()]
        assert weights.folder_of(a_checkpoint(remote, "b")).is_dir()
        assert not old.exists()

    def test_a_disk_that_stays_full_is_reported(self, weights: CachedWeights, remote: CountingStore) -> None:
        remote.errors = [disk_full(), disk_full()]
        with pytest.raises(RenderError, match="'a' does not fit on this worker's disk: make room"):
            weights.folder_of(a_checkpoint(remote))

    def test_a_cache_that_cannot_be_written_is_reported(self, remote: CountingStore, tmp_path: Path) -> None:
        (tmp_path / "cache").touch()
        with pytest.raises(RenderError, match="cannot be brought to this worker: Not a directory"):
            CachedWeights(remote, tmp_path / "cache", GIB).folder_of(a_checkpoint(remote))


def disk_full() -> StoreError:
    error = StoreError("Could not read weights/a: No space left on device")
    error.__cause__ = OSError(ENOSPC, "No space left on device")
    return error


class TestEviction:
    def test_the_least_recently_used_weights_are_deleted(self, remote: CountingStore, tmp_path: Path) -> None:
        weights = CachedWeights(remote, tmp_path / "cache", 250)
        folders = {}
        for name in "abac":
            age(tmp_path) if folders else None
            folders[name] = weights.folder_of(a_checkpoint(remote, name))
        assert [name for name in "abc" if folders[name].exists()] == ["a", "c"]
        assert (folders["a"] / "vae" / "w.safetensors").read_bytes() == SHARED

    def test_files_go_with_the_last_checkpoint_that_has_them(self, remote: CountingStore, tmp_path: Path) -> None:
        weights = CachedWeights(remote, tmp_path / "cache", 10)
        weights.folder_of(a_checkpoint(remote, "a"))
        weights.folder_of(a_checkpoint(remote, "b"))
        assert len(list((tmp_path / "cache" / "files").iterdir())) == 2

    def test_weights_that_another_worker_uses_are_kept(self, remote: CountingStore, tmp_path: Path) -> None:
        one, other = (CachedWeights(remote, tmp_path / "cache", 10) for _ in range(2))
        used = one.folder_of(a_checkpoint(remote, "a"))
        lora = one.file_of(an_addon(remote, b"a lora"))
        other.folder_of(a_checkpoint(remote, "b"))
        assert used.exists()
        assert lora.exists()
        one.close()
        other.folder_of(a_checkpoint(remote, "c"))
        assert not used.exists()
        assert not lora.exists()

    def test_a_held_checkpoint_is_kept_whatever_else_is_asked_for(
        self, remote: CountingStore, tmp_path: Path
    ) -> None:
        weights = CachedWeights(remote, tmp_path / "cache", 10)
        folder = weights.folder_of(a_checkpoint(remote, "a"))
        hold = weights.hold(a_checkpoint(remote, "a"))
        weights.folder_of(a_checkpoint(remote, "b"))
        assert folder.exists()
        hold.close()
        weights.folder_of(a_checkpoint(remote, "c"))
        assert not folder.exists()

    def test_a_checkpoint_larger_than_the_bound_is_still_used(self, remote: CountingStore, tmp_path: Path) -> None:
        folder = CachedWeights(remote, tmp_path / "cache", 10).folder_of(a_checkpoint(remote))
        assert (folder / "unet" / "w.safetensors").exists()

    def test_files_that_a_killed_worker_left_half_fetched_are_cleared(
        self, remote: CountingStore, tmp_path: Path
    ) -> None:
        half = tmp_path / "cache" / "incoming" / ("e" * 64)
        half.mkdir(parents=True)
        (half / "file").write_bytes(b"half")
        CachedWeights(remote, tmp_path / "cache", GIB).folder_of(a_checkpoint(remote))
        assert not half.exists()


class SlowDiskStore(DiskStore):
    """Takes its time to fetch, and writes down each fetch."""

    def fetch_file(self, key: str, path: Path) -> None:
        with (self._folder / "fetched.log").open("a") as log:
            log.write(f"{key}\n")
        time.sleep(0.1)
        super().fetch_file(key, path)


def slow_store(folder: Path) -> SlowDiskStore:
    return SlowDiskStore(folder / "store", LinkSigner("a secret key for tests only"))


def use(folder: Path, checkpoint: ClaimedCheckpoint, limit_bytes: int, times: int) -> None:
    """What a worker's process does: ask for its weights, and read all of them."""
    weights = CachedWeights(slow_store(folder), folder / "cache", limit_bytes)
    for _ in range(times):
        found = weights.folder_of(checkpoint)
        for file in checkpoint.files or ():
            assert hashlib.sha256((found / file.path).read_bytes()).hexdigest() == file.sha256
        weights.close()


@contextmanager
def process(folder: Path, *arguments: object) -> Iterator[multiprocessing.process.BaseProcess]:
    child = multiprocessing.get_context("spawn").Process(target=use, args=(folder, *arguments))
    child.start()
    yield child
    child.join(60)
    child.close()


class TestProcesses:
    def test_workers_that_ask_at_once_fetch_each_file_once(self, tmp_path: Path) -> None:
        checkpoint = a_checkpoint(slow_store(tmp_path))  # type: ignore[arg-type]
        with process(tmp_path, checkpoint, GIB, 1) as a, process(tmp_path, checkpoint, GIB, 1) as b:
            a.join(60)
            b.join(60)
            assert (a.exitcode, b.exitcode) == (0, 0)
        fetched = (tmp_path / "store" / "fetched.log").read_text().splitlines()
        assert len(fetched) == len(set(fetched)) == 2

    def test_workers_that_evict_each_other_read_whole_weights(self, tmp_path: Path) -> None:
        store = slow_store(tmp_path)
        first, second = (a_checkpoint(store, name) for name in "ab")  # type: ignore[arg-type]
        with process(tmp_path, first, 10, 6) as a, process(tmp_path, second, 10, 6) as b:
            a.join(60)
            b.join(60)
            assert (a.exitcode, b.exitcode) == (0, 0)

    def test_a_worker_killed_while_it_fetches_holds_nobody_up(self, tmp_path: Path) -> None:
        checkpoint = a_checkpoint(slow_store(tmp_path))  # type: ignore[arg-type]
        with process(tmp_path, checkpoint, GIB, 1) as child:
            while not (tmp_path / "store" / "fetched.log").exists():
                time.sleep(0.005)
            os.kill(child.pid or 0, signal.SIGKILL)
            use(tmp_path, checkpoint, GIB, 1)
