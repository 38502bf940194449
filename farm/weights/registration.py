"""What is written into the database for ingested weights."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy.orm import Session

from farm.db.tables.weights import Addon, Checkpoint
from farm.spec.names import Names
from farm.store.keys import weights_key
from farm.store.protocol import Store
from farm.weights import addons, checkpoints
from farm.weights.addons import StoredAddon
from farm.weights.addrequest import AddRequest, WeightsKind
from farm.weights.blobs import StoredFile, read_files
from farm.weights.checkpoints import StoredCheckpoint
from farm.weights.files.foreign import source_hashes
from farm.weights.files.header import BadWeights
from farm.weights.hub.fetch import FetchedWeights
from farm.weights.ingest import IngestReport
from farm.weights.presets import Preset


@dataclass(frozen=True)
class Registration:
    """A row to insert, and the files that the store must have before."""

    found: StoredCheckpoint | StoredAddon
    files: Sequence[StoredFile]
    note: str | None

    def insert(self, session: Session, kind: WeightsKind, name: str) -> bool:
        """Insert the row; False where the same was there already. Raises Conflict."""
        is_new = find_registered(session, kind, name) is None
        if isinstance(self.found, StoredCheckpoint):
            checkpoints.add(session, name, self.found, self.note)
        else:
            assert kind != "checkpoint", "an addon is no checkpoint"
            addons.add(session, kind, name, self.found, self.note)
        return is_new


def find_registered(session: Session, kind: WeightsKind, name: str) -> Checkpoint | Addon | None:
    """What is registered under the name, or under one that prompts do not distinguish from it."""
    known: Mapping[str, Checkpoint | Addon] = (
        checkpoints.by_name(session) if kind == "checkpoint" else addons.by_name(session, kind)
    )
    alike = Names(known).alike(name)
    return known[alike[0]] if alike else None


def is_whole(row: Checkpoint | Addon, store: Store) -> bool:
    """Whether the store has all its files; a folder registered in place has none there."""
    hashes = [row.sha256] if isinstance(row, Addon) else [file.sha256 for file in read_files(row.files) or ()]
    return bool(hashes) and all(store.exists(weights_key(sha256)) for sha256 in hashes)


def build_registration(
    request: AddRequest, fetched: FetchedWeights, preset: Preset | None, report: IngestReport
) -> Registration:
    """The registration of what an ingest wrote. Raises BadWeights where its family is unknown."""
    files = [StoredFile(path, file.sha256, file.size) for path, file in report.files.items()]
    note = request.note or (preset.description if preset else None)
    if request.kind == "checkpoint":
        return Registration(_build_checkpoint(request, fetched, preset, report, files), files, note)
    addon = _build_addon(fetched, preset, report, files)
    return Registration(addon, [file for file in files if file.sha256 == addon.sha256], note)


def _build_checkpoint(
    request: AddRequest,
    fetched: FetchedWeights,
    preset: Preset | None,
    report: IngestReport,
    files: Sequence[StoredFile],
) -> StoredCheckpoint:
    """With another VAE it differs from its source file: then its hash is one over its own files."""
    manifest = json.dumps(sorted((file.path, file.sha256) for file in files))
    return StoredCheckpoint(
        family=str(report.family),
        sha256=hashlib.sha256(manifest.encode()).hexdigest() if request.vae else report.sha256,
        files=files,
        origin=fetched.origin,
        suggestions=_build_suggestions(fetched, preset),
    )


def _build_suggestions(fetched: FetchedWeights, preset: Preset | None) -> dict[str, Any]:
    words = _choose_trigger_words(fetched, preset)
    found: dict[str, Any] = {"trigger_words": list(words)} if words else {}
    if preset:
        found |= {name: value for name, value in asdict(preset.suggestions).items() if value is not None}
        found["licence"] = asdict(preset.licence)
    return found


def _choose_trigger_words(fetched: FetchedWeights, preset: Preset | None) -> tuple[str, ...]:
    return preset.trigger_words if preset else fetched.trigger_words


def _build_addon(
    fetched: FetchedWeights, preset: Preset | None, report: IngestReport, files: Sequence[StoredFile]
) -> StoredAddon:
    """The one file of weights; the config that is written next to a VAE follows from its checkpoint."""
    [file] = [file for file in files if file.path.endswith(".safetensors")]
    family = report.family or fetched.family_hint
    if family is None:
        raise BadWeights(f"{fetched.path.name} does not show which family it is made for: name it with --family.")
    words, hashes = _choose_trigger_words(fetched, preset), source_hashes(fetched.path)
    return StoredAddon(family, file.sha256, file.size, fetched.origin, words, hashes)
