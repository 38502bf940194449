"""From a source that somebody names to registered weights: fetched, taken in, stored, and only then named."""

import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from farm.config import Settings
from farm.db.connection import Database
from farm.db.tables.weights import Addon, Checkpoint
from farm.errors import NotFound, StoreError
from farm.spec.names import Names
from farm.store.keys import weights_key
from farm.store.protocol import Store
from farm.weights import addons, checkpoints
from farm.weights.blobs import StoredFile, adding, announce, put_missing, settle, tidy
from farm.weights.files.hashing import hash_weights
from farm.weights.hub.fetch import Fetched, fetch
from farm.weights.hub.huggingface import fetch_vocabulary
from farm.weights.hub.sources import LocalSource, Source, parse_source
from farm.weights.hub.transport import DownloadError
from farm.weights.ingest import IngestReport, IngestRequest, ingest
from farm.weights.presets import Preset
from farm.weights.registration import Registration, is_whole, register_as, registered
from farm.weights.staging import staging
from farm.weights.taken import refuse_other_origin
from farm.weights.wishes import Wish


@dataclass(frozen=True)
class Added:
    """What is registered now; `is_new`: it was not before. `vae` is one that suits it and is not here yet."""

    name: str
    family: str
    sha256: str
    is_new: bool
    warnings: Sequence[str] = ()
    vae: str | None = None


class Watch(Protocol):
    """Who follows the adding: told of each stage, and how many bytes of it are done of how many (None: unknown)."""

    def stage(self, what: str) -> None: ...
    def count(self, done: int, total: int | None) -> None: ...


class Unwatched:
    """A watch where nobody follows."""

    def stage(self, what: str) -> None:
        pass

    def count(self, done: int, total: int | None) -> None:
        pass


@dataclass(frozen=True)
class Warehouse:
    """Where weights are added. `ingest` is what takes them in."""

    settings: Settings
    database: Database
    store: Store
    watch: Watch
    ingest: Callable[[IngestRequest], IngestReport] = ingest

    def add(self, wish: Wish) -> Added:
        """Add weights; nothing is registered, or left in the store, unless all of it is.

        1. Refuse a name that stands for something else, before anything is brought here where that can be told.
        2. Fetch the source, if it is elsewhere. What came is kept until it is registered: another try goes on.
        3. Take it in: a process of its own reads it and writes safetensors into a folder of ours.
        4. Put the files that the store has not; then insert the row.

        Raises Conflict, DownloadError, BadWeights, StoreError, or InvalidRequest for the name.
        """
        preset = wish.preset()
        source = parse_source(preset.source if preset else wish.source)
        name = wish.name or (preset.name if preset else None)
        if name is not None and (there := self._there_already(wish, wish.check_name(name), source)):
            return there
        fetched = self._fetch(wish, source)
        name = name or wish.name_for(fetched.name_hint)
        if row := self._registered(wish, name):
            name = row.name
        added = self._same_weights(wish, name, fetched) or self._take_in(wish, name, fetched, preset)
        if not isinstance(source, LocalSource):
            _forget_download(fetched.path, self.settings.download_folder)
        return added

    def _there_already(self, wish: Wish, name: str, source: Source) -> Added | None:
        """Raise Conflict if the name is taken by weights from elsewhere; say what is there if it is the same."""
        row = self._registered(wish, name)
        if row is None:
            return None
        is_certain = refuse_other_origin(self.settings, f"The {wish.title} {name!r}", row.origin, source)
        return self._as_it_is(wish, row) if is_certain else None

    def _same_weights(self, wish: Wish, name: str, fetched: Fetched) -> Added | None:
        """The same, once the weights are here and before the long work of taking them in."""
        row = self._registered(wish, name)
        if not isinstance(row, Checkpoint) or wish.vae:
            return None
        checkpoints.check_same(row, fetched.sha256 or hash_weights(fetched.path), name)
        return self._as_it_is(wish, row)

    def _as_it_is(self, wish: Wish, row: Checkpoint | Addon) -> Added | None:
        """What is registered, if nothing else is wished and the store has all of it."""
        if wish.family not in (None, row.family) or wish.vae or wish.half or not is_whole(row, self.store):
            return None
        return Added(row.name, row.family, row.sha256, is_new=False)

    def _registered(self, wish: Wish, name: str) -> Checkpoint | Addon | None:
        with self.database.begin() as session:
            return registered(session, wish.kind, name)

    def _fetch(self, wish: Wish, source: Source) -> Fetched:
        if not isinstance(source, LocalSource):
            self.watch.stage(f"Fetching {wish.source}")
        fetched = fetch(
            source,
            self.settings,
            self.settings.download_folder,
            self.watch.count,
            precision="fp16" if wish.half else "full",
        )
        wish.check_hint(fetched)
        return fetched

    def _take_in(self, wish: Wish, name: str, fetched: Fetched, preset: Preset | None) -> Added:
        with staging(self.settings.data_dir / "ingest") as folder:
            request = IngestRequest(
                kind=wish.kind,
                source=fetched.path,
                target=folder / "weights",
                family=wish.settled_family(fetched, preset),
                tokenizer=wish.tokenizer,
                clip_vocabulary=self._vocabulary(wish, fetched),
                vae=self._vae(wish, folder),
            )
            self.watch.stage("Reading the weights")
            report = self.ingest(request)
            registration = register_as(wish, fetched, preset, report)
            is_new = self._register(wish, name, registration, request.target)
        found = registration.found
        return Added(name, found.family, found.sha256, is_new, report.warnings, self._missing_vae(preset))

    def _register(self, wish: Wish, name: str, registration: Registration, folder: Path) -> bool:
        """Put the files, then insert the row: on the connection that keeps others from deleting the files."""
        try:
            with adding(self.database) as connection:
                announce(connection, registration.files)
                self._put(registration.files, folder)
                with Session(connection) as session, session.begin():
                    settle(session, registration.files)
                    return registration.insert(session, wish.kind, name)
        finally:
            # Whoever adds last does this, also for those that failed or were killed before.
            with suppress(SQLAlchemyError, StoreError):
                tidy(self.database, self.store)

    def _put(self, files: Sequence[StoredFile], folder: Path) -> None:
        total = sum(file.size for file in {file.sha256: file for file in files}.values())
        done = 0

        def on_put(file: StoredFile) -> None:
            nonlocal done
            done += file.size
            self.watch.count(done, total)

        self.watch.stage("Storing the weights")
        put_missing(self.store, files, folder, on_put)

    def _vocabulary(self, wish: Wish, fetched: Fetched) -> Path | None:
        """A folder with CLIP's vocabulary, for a file that has none of its own; None where no hub answers."""
        if wish.kind != "checkpoint" or fetched.is_folder or wish.tokenizer:
            return None
        folder = self.settings.download_folder / "clip" / self.settings.clip_repo.replace("/", "--")
        if all((folder / name).is_file() for name in ("vocab.json", "merges.txt")):
            return folder
        self.watch.stage("Fetching CLIP's vocabulary")
        # An installed open_clip may have it too; if not, the ingest says what can be done.
        with suppress(DownloadError):
            return fetch_vocabulary(self.settings, folder, self.watch.count)
        return None

    def _vae(self, wish: Wish, folder: Path) -> Path | None:
        """The VAE that is to go with a checkpoint: a file or folder here, else a registered one."""
        if wish.vae is None or Path(wish.vae).exists():
            return Path(wish.vae).resolve() if wish.vae else None
        with self.database.begin() as session:
            known = addons.by_name(session, "vae")
        name = Names(known).only(wish.vae)
        if name is None:
            names = ", ".join(known) or "none yet"
            raise NotFound(f"{wish.vae!r} is no file here, and no registered VAE. Known: {names}.")
        path = folder / "vae.safetensors"
        self.store.fetch_file(weights_key(known[name].sha256), path)
        return path

    def _missing_vae(self, preset: Preset | None) -> str | None:
        suggested = preset.suggestions.vae if preset else None
        with self.database.begin() as session:
            return None if suggested is None or suggested in addons.by_name(session, "vae") else suggested


def _forget_download(path: Path, root: Path) -> None:
    """Delete what came from a hub, and the folders that are empty then."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
    for folder in path.parents:
        if folder == root or not folder.is_relative_to(root):
            break
        with suppress(OSError):
            folder.rmdir()
