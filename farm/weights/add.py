"""Adds weights from a source: they are fetched, ingested, stored, and only then registered under a name."""

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
from farm.weights.addrequest import AddRequest
from farm.weights.blobs import StoredFile, announce, hold_add_lock, mark_named, put_missing, tidy
from farm.weights.files.hashing import hash_weights
from farm.weights.hub.fetch import FetchedWeights, fetch
from farm.weights.hub.huggingface import fetch_vocabulary
from farm.weights.hub.sources import LocalSource, Source, parse_source
from farm.weights.hub.transport import DownloadError
from farm.weights.ingest import IngestReport, IngestRequest, ingest
from farm.weights.present import refuse_other_origin
from farm.weights.presets import Preset
from farm.weights.registration import Registration, build_registration, find_registered, is_whole
from farm.weights.staging import open_staging_folder


@dataclass(frozen=True)
class AddedWeights:
    """What is registered now; `is_new`: it was not before. `vae` is a suggested one that is not registered yet."""

    name: str
    family: str
    sha256: str
    is_new: bool
    warnings: Sequence[str] = ()
    vae: str | None = None


class ProgressListener(Protocol):
    """Receives the progress: each stage, and the bytes of it that are done, of how many (None: unknown)."""

    def stage(self, what: str) -> None: ...
    def count(self, done: int, total: int | None) -> None: ...


class SilentListener:
    """A listener that ignores the progress."""

    def stage(self, what: str) -> None:
        pass

    def count(self, done: int, total: int | None) -> None:
        pass


@dataclass(frozen=True)
class WeightsImporter:
    """Adds weights to the farm. `ingest` is the function that converts them."""

    settings: Settings
    database: Database
    store: Store
    listener: ProgressListener
    ingest: Callable[[IngestRequest], IngestReport] = ingest

    def add(self, request: AddRequest) -> AddedWeights:
        """Add weights; nothing is registered, or left in the store, unless all of it is.

        1. Refuse a name that is taken by other weights, before the download if that can be decided by then.
        2. Fetch the source, if it is remote. The download is kept until it is registered: another try resumes it.
        3. Ingest it: a process of its own reads it and writes safetensors into a staging folder.
        4. Store the files that the store lacks; then insert the row.

        Raises Conflict, DownloadError, BadWeights, StoreError, or InvalidRequest for the name.
        """
        preset = request.find_preset()
        source = parse_source(preset.source if preset else request.source)
        name = request.name or (preset.name if preset else None)
        if name is not None and (there := self._find_existing(request, request.check_name(name), source)):
            return there
        fetched = self._fetch(request, source)
        name = name or request.choose_name(fetched.name_hint)
        if row := self._find_registered(request, name):
            name = row.name
        added = self._find_same_weights(request, name, fetched) or self._ingest_and_register(
            request, name, fetched, preset
        )
        if not isinstance(source, LocalSource):
            _delete_download(fetched.path, self.settings.download_folder)
        return added

    def _find_existing(self, request: AddRequest, name: str, source: Source) -> AddedWeights | None:
        """Raise Conflict if the name is taken by weights of another source; return them if they are the same."""
        row = self._find_registered(request, name)
        if row is None:
            return None
        is_certain = refuse_other_origin(self.settings, f"The {request.title} {name!r}", row.origin, source)
        return self._report_existing(request, row) if is_certain else None

    def _find_same_weights(self, request: AddRequest, name: str, fetched: FetchedWeights) -> AddedWeights | None:
        """The same check, once the weights are local and before the long ingest."""
        row = self._find_registered(request, name)
        if not isinstance(row, Checkpoint) or request.vae:
            return None
        checkpoints.check_same(row, fetched.sha256 or hash_weights(fetched.path), name)
        return self._report_existing(request, row)

    def _report_existing(self, request: AddRequest, row: Checkpoint | Addon) -> AddedWeights | None:
        """What is registered, if nothing else is requested and the store has all its files."""
        if request.family not in (None, row.family) or request.vae or request.half or not is_whole(row, self.store):
            return None
        return AddedWeights(row.name, row.family, row.sha256, is_new=False)

    def _find_registered(self, request: AddRequest, name: str) -> Checkpoint | Addon | None:
        with self.database.begin() as session:
            return find_registered(session, request.kind, name)

    def _fetch(self, request: AddRequest, source: Source) -> FetchedWeights:
        if not isinstance(source, LocalSource):
            self.listener.stage(f"Fetching {request.source}")
        fetched = fetch(
            source,
            self.settings,
            self.settings.download_folder,
            self.listener.count,
            precision="fp16" if request.half else "full",
        )
        request.check_hint(fetched)
        return fetched

    def _ingest_and_register(
        self, request: AddRequest, name: str, fetched: FetchedWeights, preset: Preset | None
    ) -> AddedWeights:
        with open_staging_folder(self.settings.data_dir / "ingest") as folder:
            ingest_request = IngestRequest(
                kind=request.kind,
                source=fetched.path,
                target=folder / "weights",
                family=request.choose_family(fetched, preset),
                tokenizer=request.tokenizer,
                clip_vocabulary=self._find_vocabulary(request, fetched),
                vae=self._find_vae(request, folder),
            )
            self.listener.stage("Reading the weights")
            report = self.ingest(ingest_request)
            registration = build_registration(request, fetched, preset, report)
            is_new = self._register(request, name, registration, ingest_request.target)
        found = registration.found
        return AddedWeights(
            name, found.family, found.sha256, is_new, report.warnings, self._find_missing_vae(preset)
        )

    def _register(self, request: AddRequest, name: str, registration: Registration, folder: Path) -> bool:
        """Store the files, then insert the row, on the connection whose lock keeps the files from being deleted."""
        try:
            with hold_add_lock(self.database) as connection:
                announce(connection, registration.files)
                self._store_files(registration.files, folder)
                with Session(connection) as session, session.begin():
                    mark_named(session, registration.files)
                    return registration.insert(session, request.kind, name)
        finally:
            # The last process that adds does this, also for those that failed or were killed before.
            with suppress(SQLAlchemyError, StoreError):
                tidy(self.database, self.store)

    def _store_files(self, files: Sequence[StoredFile], folder: Path) -> None:
        total = sum(file.size for file in {file.sha256: file for file in files}.values())
        done = 0

        def on_put(file: StoredFile) -> None:
            nonlocal done
            done += file.size
            self.listener.count(done, total)

        self.listener.stage("Storing the weights")
        put_missing(self.store, files, folder, on_put)

    def _find_vocabulary(self, request: AddRequest, fetched: FetchedWeights) -> Path | None:
        """A folder with CLIP's vocabulary, for a file without its own; None where the hub does not answer."""
        if request.kind != "checkpoint" or fetched.is_folder or request.tokenizer:
            return None
        folder = self.settings.download_folder / "clip" / self.settings.clip_repo.replace("/", "--")
        if all((folder / name).is_file() for name in ("vocab.json", "merges.txt")):
            return folder
        self.listener.stage("Fetching CLIP's vocabulary")
        # An installed open_clip may have it too; if not, the ingest reports what to do.
        with suppress(DownloadError):
            return fetch_vocabulary(self.settings, folder, self.listener.count)
        return None

    def _find_vae(self, request: AddRequest, folder: Path) -> Path | None:
        """The VAE requested for a checkpoint: a local file or folder, else a registered one."""
        if request.vae is None or Path(request.vae).exists():
            return Path(request.vae).resolve() if request.vae else None
        with self.database.begin() as session:
            known = addons.by_name(session, "vae")
        name = Names(known).only(request.vae)
        if name is None:
            names = ", ".join(known) or "none yet"
            raise NotFound(f"{request.vae!r} is neither a file here nor a registered VAE. Registered: {names}.")
        path = folder / "vae.safetensors"
        self.store.fetch_file(weights_key(known[name].sha256), path)
        return path

    def _find_missing_vae(self, preset: Preset | None) -> str | None:
        suggested = preset.suggestions.vae if preset else None
        with self.database.begin() as session:
            return None if suggested is None or suggested in addons.by_name(session, "vae") else suggested


def _delete_download(path: Path, root: Path) -> None:
    """Delete a download, and the folders that are empty then."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
    for folder in path.parents:
        if folder == root or not folder.is_relative_to(root):
            break
        with suppress(OSError):
            folder.rmdir()
