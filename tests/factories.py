"""Ready-made jobs, workers and objects for tests; each takes only what a test wants to differ."""

from pathlib import Path
from typing import Any

from farm import catalog, dispatch, fleet, intake
from farm.catalog import CheckpointFolder
from farm.config import Settings
from farm.database import Database
from farm.dispatch import Batch, Lease, StoredObject
from farm.fleet import WorkerIdentity
from farm.intake import Submitted
from farm.queue import Doorbell
from farm.specs import JobRequest, TextToImageSpec, parse_request

LEASE_SECONDS = 30.0


def a_request(**fields: Any) -> JobRequest:
    return parse_request({"prompts": ["a lighthouse"], "seed": 1, "checkpoint": "demo", **fields})


def a_spec(**fields: Any) -> TextToImageSpec:
    return TextToImageSpec(**{"checkpoint": "demo", "prompt": "a lighthouse", "seed": 1, **fields})


def a_checkpoint(database: Database, name: str = "demo", sha256: str = "a" * 64) -> int:
    """Register a checkpoint that has a row but no files; return its id."""
    with database.begin() as session:
        return catalog.add(
            session, name, CheckpointFolder(path=Path(f"/nowhere/{name}"), family="sd15", sha256=sha256)
        ).id


def a_job(
    database: Database, settings: Settings, doorbell: Doorbell, *, owner: str = "local", **fields: Any
) -> Submitted:
    """Submit a job; the checkpoint `demo` is registered if it is not yet."""
    a_checkpoint(database)
    return intake.submit(database, settings, doorbell, a_request(**fields), owner=owner)


def a_worker(database: Database, device: str = "cpu", pool: str = "default") -> int:
    """Register a live worker; return its id."""
    identity = WorkerIdentity(host="host", pid=1, device=device, device_name="test device", pool=pool)
    with database.begin() as session:
        return fleet.register(session, identity)


def claim(database: Database, worker_id: int, *, limit: int = 8, **options: Any) -> Batch | None:
    options = {"pool": "default", "lease_seconds": LEASE_SECONDS, **options}
    with database.begin() as session:
        return dispatch.claim(session, worker_id, limit=limit, **options)


def publish(database: Database, lease: Lease) -> bool:
    """Publish an attempt as if its image had been uploaded."""
    with database.begin() as session:
        return dispatch.publish(
            session,
            lease,
            an_object("result", lease),
            an_object("thumbnail", lease),
            provenance={"bucket": 1},
            timings={"render": 0.5},
            gpu_seconds=0.5,
        )


def an_object(role: str, lease: Lease) -> StoredObject:
    return StoredObject(
        role=role,
        key=f"{role}/{lease.task_id}-{lease.attempt}.png",
        sha256="b" * 64,
        size_bytes=100,
        media_type="image/png",
        width=64,
        height=64,
    )
