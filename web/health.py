"""/healthz and /readyz, for whatever supervises the portal."""

from collections.abc import Callable, Mapping

import structlog
from flask import Blueprint, Response, jsonify
from sqlalchemy.exc import SQLAlchemyError

from farm import migrate
from farm.errors import StoreError
from web.services import services

log = structlog.get_logger(__name__)

health = Blueprint("health", __name__)

_OK = "ok"


@health.get("/healthz")
def healthz() -> Response:
    """The process lives and answers."""
    return jsonify(status=_OK)


@health.get("/readyz")
def readyz() -> tuple[Response, int]:
    """Whether the portal can do its work, part by part. Without Redis it can: rings are only a courtesy."""
    parts = {name: check() for name, check in _CHECKS.items()}
    if any(parts[name] != _OK for name in _REQUIRED):
        return jsonify(status="unavailable", parts=parts), 503
    is_whole = all(state == _OK for state in parts.values())
    return jsonify(status="ready" if is_whole else "degraded", parts=parts), 200


def _database() -> str:
    try:
        return _OK if migrate.is_current(services().database.engine) else "not migrated: run `farm db upgrade`"
    except SQLAlchemyError as error:
        log.warning("The database did not answer.", error=str(error))
        return "does not answer"


def _store() -> str:
    try:
        services().store.check()
    except StoreError as error:
        log.warning("The artifact store did not answer.", error=str(error))
        return "does not answer"
    return _OK


def _redis() -> str:
    return _OK if services().progress.is_reachable() else "does not answer"


_CHECKS: Mapping[str, Callable[[], str]] = {"database": _database, "store": _store, "redis": _redis}
_REQUIRED = ("database", "store")
