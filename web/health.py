"""/healthz and /readyz, for programs that supervise the portal."""

from collections.abc import Callable, Mapping

import structlog
from flask import Blueprint, Response, current_app, jsonify
from sqlalchemy.exc import SQLAlchemyError

from farm.db import migrate
from farm.errors import ConfigError, StoreError
from farm.queue.doorbell import require_transport
from farm.weights import checkpoints
from web.services import services

log = structlog.get_logger(__name__)

health = Blueprint("health", __name__)

_OK = "ok"
_CHECKPOINT_SEEN = "farm-checkpoint-seen"


@health.get("/healthz")
def healthz() -> Response:
    """The process runs and answers."""
    return jsonify(status=_OK)


@health.get("/readyz")
def readyz() -> tuple[Response, int]:
    """Whether the portal can do its work, part by part. It can without Redis: workers also look by themselves."""
    parts = {name: check() for name, check in _CHECKS.items()}
    if any(parts[name] != _OK for name in _REQUIRED):
        return jsonify(status="unavailable", parts=parts), 503
    is_whole = all(state == _OK for state in parts.values())
    return jsonify(status="ready" if is_whole else "degraded", parts=parts), 200


def _check_database() -> str:
    try:
        return _OK if migrate.is_current(services().database.engine) else "not migrated: run `farm db upgrade`"
    except SQLAlchemyError as error:
        log.warning("The database did not answer.", error=str(error))
        return "does not answer"


def _check_store() -> str:
    try:
        services().store.check()
    except StoreError as error:
        log.warning("The artifact store did not answer.", error=str(error))
        return "does not answer"
    return _OK


def _check_redis() -> str:
    return _OK if services().progress.is_reachable() else "does not answer"


def _check_doorbell() -> str:
    """Whether rings can be sent at all: a wrong installation or address is not repaired by a Redis that answers."""
    try:
        require_transport(services().settings.required_redis_url)
    except ConfigError as error:
        log.error(
            "The portal cannot ring the workers; check FARM_REDIS_URL and the installation.", error=str(error)
        )
        return "cannot ring: see the log"
    return _OK


def _check_checkpoint() -> str:
    """Whether jobs have a checkpoint to name, if the portal waits for one. Checked until one is seen."""
    if not services().settings.await_checkpoint or _CHECKPOINT_SEEN in current_app.extensions:
        return _OK
    try:
        with services().database.begin() as session:
            is_seen = bool(checkpoints.by_name(session))
    except SQLAlchemyError:
        return "unknown while the database does not answer"
    if not is_seen:
        return "the first is being taken in"
    current_app.extensions[_CHECKPOINT_SEEN] = True
    return _OK


_CHECKS: Mapping[str, Callable[[], str]] = {
    "database": _check_database,
    "store": _check_store,
    "redis": _check_redis,
    "bell": _check_doorbell,
    "checkpoint": _check_checkpoint,
}
_REQUIRED = ("database", "store", "bell", "checkpoint")
