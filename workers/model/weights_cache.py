"""Weights from the store, fetched to this host once, whatever number of its workers ask for them."""

import hashlib
import json
import os
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from errno import ENOSPC
from functools import lru_cache, partial
from pathlib import Path

import structlog

from farm.config import Settings
from farm.errors import ObjectMissing, RenderError, StoreError
from farm.queue.claim import ClaimedCheckpoint
from farm.store.keys import weights_key
from farm.store.protocol import Store
from farm.weights.blobs import StoredFile
from farm.weights.files.hashing import hash_file
from workers.model.cache_folder import CacheFolder, FileLock
from workers.model.storereads import Reads
from workers.model.weights import Hold, PlacedWeights

log = structlog.get_logger(__name__)

_FETCHES = 2
# A render asks for its VAE, embeddings and LoRAs one by one; so many stay in use, the latest.
_MOST_FILES_HELD = 32


def open_weights(
    settings: Settings, store: Store, reads: Reads, may_fetch: Callable[[], bool] = lambda: True
) -> "CachedWeights":
    return CachedWeights(store, settings.cache_folder, settings.cache_bytes, reads, may_fetch)


class FetchCalledOff(RenderError):
    """It is not to be fetched any more."""


class CachedWeights:
    """The weights that this process uses. What it asked for last is not evicted until it asks for others.

    Raises StoreAway while the store does not give what is not here, else RenderError, with what to do where a
    person must. `may_fetch` is asked before each file that is fetched; FetchCalledOff is raised where it says no.
    """

    def __init__(
        self,
        store: Store,
        folder: Path,
        limit_bytes: int,
        reads: Reads | None = None,
        may_fetch: Callable[[], bool] = lambda: True,
    ) -> None:
        self._may_fetch = may_fetch
        self._store = store
        self._reads = reads or Reads()
        self._cache = CacheFolder(folder, limit_bytes)
        self._placed = PlacedWeights()
        self._checkpoint: FileLock | None = None
        self._files: OrderedDict[str, FileLock] = OrderedDict()
        self._checked: set[str] = set()

    def folder_of(self, checkpoint: ClaimedCheckpoint) -> Path:
        """The diffusers folder of a checkpoint, in use until another checkpoint is asked for."""
        self._release_checkpoint()
        files = checkpoint.files
        if files is None:
            return self._placed.folder_of(checkpoint)
        name = _name_of(files)
        folder = self._cache.checkpoint(name)
        with self._translated(f"Checkpoint {checkpoint.name!r}"):
            self._checkpoint, was_made = self._cache.use(
                name, partial(_is_laid_out, folder, files), partial(self._lay_out, name, folder, files)
            )
            if was_made:
                self._evict()
        return folder

    def hold(self, checkpoint: ClaimedCheckpoint) -> Hold:
        if checkpoint.files is None:
            return self._placed.hold(checkpoint)
        return self._cache.hold(_name_of(checkpoint.files))

    def has(self, checkpoint: ClaimedCheckpoint) -> bool:
        """Whether it is laid out here, or all its files are."""
        files = checkpoint.files
        if files is None:
            return self._placed.has(checkpoint)
        return _is_laid_out(self._cache.checkpoint(_name_of(files)), files) or all(
            _has_size(self._cache.file(file.sha256), file.size) for file in files
        )

    def file_of(self, sha256: str) -> Path:
        """The file of this hash, in use until many others have been asked for."""
        with self._translated(f"The file {sha256[:10]}"):
            lock, was_made = self._use_file(sha256, partial(self._is_checked, sha256))
            if earlier := self._files.pop(sha256, None):
                earlier.close()
            self._files[sha256] = lock
            if len(self._files) > _MOST_FILES_HELD:
                self._files.popitem(last=False)[1].close()
            if was_made:
                self._evict()
        return self._cache.file(sha256)

    def close(self) -> None:
        """Nothing is in use any more."""
        self._release_checkpoint()
        while self._files:
            self._files.popitem()[1].close()

    def _release_checkpoint(self) -> None:
        if self._checkpoint is not None:
            self._checkpoint.close()
            self._checkpoint = None

    def _lay_out(self, name: str, folder: Path, files: Sequence[StoredFile]) -> None:
        """Fetch what is missing, and link it into a folder that appears whole."""
        log.info("Laying out a checkpoint.", files=len(files), bytes=sum(file.size for file in files))
        with ExitStack() as held, self._cache.incoming(name) as incoming:
            for sha256, size in {file.sha256: file.size for file in files}.items():
                lock, _ = self._use_file(sha256, partial(_has_size, self._cache.file(sha256), size))
                held.callback(lock.close)
            for file in files:
                link = incoming / "folder" / file.path
                link.parent.mkdir(parents=True, exist_ok=True)
                os.link(self._cache.file(file.sha256), link)
            folder.parent.mkdir(parents=True, exist_ok=True)
            if folder.exists():
                # Damaged; a folder that holds something cannot be replaced.
                folder.rename(incoming / "damaged")
            (incoming / "folder").rename(folder)

    def _use_file(self, sha256: str, is_sound: Callable[[], bool]) -> tuple[FileLock, bool]:
        return self._cache.use(sha256, is_sound, partial(self._fetch_with_room, sha256))

    def _is_checked(self, sha256: str) -> bool:
        """Whether the file is here and what it should be: its size is not known, so it is read once."""
        path = self._cache.file(sha256)
        if not path.is_file():
            return False
        if sha256 not in self._checked:
            if hash_file(path) != sha256:
                return False
            self._checked.add(sha256)
        return True

    def _fetch_with_room(self, sha256: str) -> None:
        try:
            self._fetch(sha256)
        except (OSError, StoreError) as error:
            if not _is_full(error):
                raise
            self._cache.evict(0)
            self._fetch(sha256)

    def _fetch(self, sha256: str) -> None:
        """Fetch a file; one that came damaged once more. Raises RenderError if it is damaged again."""
        if not self._may_fetch():
            raise FetchCalledOff
        target = self._cache.file(sha256)
        target.parent.mkdir(parents=True, exist_ok=True)
        for _ in range(_FETCHES):
            with self._cache.incoming(sha256) as incoming:
                self._store.fetch_file(weights_key(sha256), incoming / "file")
                if hash_file(incoming / "file") == sha256:
                    (incoming / "file").replace(target)
                    self._checked.add(sha256)
                    return
            log.warning("A file came damaged from the store.", sha256=sha256)
        raise RenderError(
            f"The file {weights_key(sha256)} is damaged in the store: it has another sha256. "
            "Remove what it belongs to, run `farm checkpoints prune`, and add it again."
        )

    def _evict(self) -> None:
        if not self._cache.evict():
            log.warning("The weights in use are more than FARM_CACHE_BYTES.", bytes=self._cache.used_bytes())

    @contextmanager
    def _translated(self, what: str) -> Iterator[None]:
        try:
            with self._reads.of(what):
                yield
        except ObjectMissing as error:
            raise RenderError(f"{what} is not in the store any more; add it again.") from error
        except (OSError, StoreError) as error:
            if _is_full(error):
                raise RenderError(
                    f"{what} does not fit on this worker's disk: make room, or set FARM_CACHE_DIR to another disk."
                ) from error
            why = error.strerror or str(error) if isinstance(error, OSError) else str(error)
            raise RenderError(f"{what} cannot be brought to this worker: {why}") from error


@lru_cache(maxsize=4096)
def _name_of(files: tuple[StoredFile, ...]) -> str:
    """A hash of the folder: what lies where in it."""
    manifest = json.dumps([(file.path, file.sha256) for file in files])
    return hashlib.sha256(manifest.encode()).hexdigest()


def _is_laid_out(folder: Path, files: Sequence[StoredFile]) -> bool:
    return all(_has_size(folder / file.path, file.size) for file in files)


def _has_size(path: Path, size: int) -> bool:
    """Whether it is there as it was when its hash was right: all but a disk that decays changes the size too."""
    try:
        return path.stat().st_size == size
    except (FileNotFoundError, NotADirectoryError):
        return False


def _is_full(error: BaseException | None) -> bool:
    """Whether somewhere in the chain of causes a disk had no room."""
    while error is not None:
        if isinstance(error, OSError) and error.errno == ENOSPC:
            return True
        error = error.__cause__
    return False
