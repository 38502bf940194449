"""Errors as answers: one table from errors to statuses, told as RFC 9457 problems or as pages."""

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus

import structlog
from flask import Flask, Response, render_template, request
from pydantic import BaseModel, Field, ValidationError
from werkzeug.exceptions import HTTPException

from farm.db.connection import PASSING, PASSING_IN_DRIVER
from farm.errors import (
    Busy,
    Conflict,
    IdempotencyConflict,
    InvalidRequest,
    NotFound,
    ObjectMissing,
    StoreError,
    StoreFull,
    StoreRefused,
)
from farm.spec.fieldproblems import problems_of
from farm.store.links import BadLink

log = structlog.get_logger(__name__)

PROBLEM_TYPE = "application/problem+json"
RETRY_SECONDS = 5


class FieldError(BaseModel):
    """One thing wrong with one field, and how to put it right."""

    field: str = Field(description="Where it is, such as `prompts[3].width`.")
    message: str


class Problem(BaseModel):
    """What went wrong, as RFC 9457 tells it."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    errors: list[FieldError] | None = None


@dataclass(frozen=True)
class _Answer:
    """How an error is told. Without a `detail` its own message is; some messages name hosts or folders."""

    status: HTTPStatus
    type: str
    detail: str | None = None


_DATABASE_AWAY = _Answer(
    HTTPStatus.SERVICE_UNAVAILABLE, "database-unavailable", "The database does not answer now; try again shortly."
)
_DATABASE_FULL = _Answer(
    HTTPStatus.SERVICE_UNAVAILABLE,
    "database-full",
    "The database's disk is full, and nothing was stored. Its owner must make room.",
)
_DATABASE_CLOSED = _Answer(
    HTTPStatus.SERVICE_UNAVAILABLE,
    "database-read-only",
    "The database takes no changes now, and nothing was stored: it is a standby, or its owner made it read-only.",
)
# By SQLSTATE; all else that passes says that the database is away.
_DATABASE_REASONS: Mapping[str, _Answer] = {"53100": _DATABASE_FULL, "25006": _DATABASE_CLOSED}
_STORE_FULL = _Answer(
    HTTPStatus.SERVICE_UNAVAILABLE, "store-full", "The artifact store has no room left. Its owner must make some."
)
_STORE_AWAY = _Answer(
    HTTPStatus.SERVICE_UNAVAILABLE,
    "store-unavailable",
    "The artifact store does not answer now; try again shortly.",
)
_STORE_REFUSES = _Answer(
    HTTPStatus.SERVICE_UNAVAILABLE,
    "store-refuses",
    "The artifact store refuses this farm: its credentials, bucket or rights are wrong. Its owner must mend them.",
)
_MISSING = _Answer(HTTPStatus.NOT_FOUND, "object-missing", "The artifact store holds no such object.")

_ANSWERS: Mapping[type[Exception], _Answer] = {
    InvalidRequest: _Answer(
        HTTPStatus.UNPROCESSABLE_ENTITY, "invalid-request", "The request has mistakes; nothing was stored."
    ),
    NotFound: _Answer(HTTPStatus.NOT_FOUND, "not-found"),
    Conflict: _Answer(HTTPStatus.CONFLICT, "conflict"),
    IdempotencyConflict: _Answer(HTTPStatus.CONFLICT, "idempotency-conflict"),
    BadLink: _Answer(HTTPStatus.FORBIDDEN, "bad-link"),
    Busy: _Answer(HTTPStatus.SERVICE_UNAVAILABLE, "busy"),
    ObjectMissing: _MISSING,
    StoreError: _STORE_AWAY,
    StoreRefused: _STORE_REFUSES,
    StoreFull: _STORE_FULL,
    **dict.fromkeys(PASSING, _DATABASE_AWAY),
    # COPY speaks to the driver itself.
    **dict.fromkeys(PASSING_IN_DRIVER, _DATABASE_AWAY),
}


def register(app: Flask) -> None:
    """Answer every error of the table, and every error of HTTP itself, in this module's way."""
    for kind in _ANSWERS:
        app.register_error_handler(kind, _answer_known)
    app.register_error_handler(HTTPException, _answer_http)


def refuse_invalid(error: ValidationError) -> Response:
    """What flask-openapi3 calls when a request does not fit its schema."""
    raise InvalidRequest(problems_of(error)) from None


def _answer_known(error: Exception) -> Response:
    answer = _answer_of(error)
    response = _tell(_problem(error, answer))
    if answer.status == HTTPStatus.SERVICE_UNAVAILABLE:
        log.warning("A part of the farm did not answer.", path=request.path, error=str(error))
        response.headers["Retry-After"] = str(RETRY_SECONDS)
    return response


def _answer_of(error: Exception) -> _Answer:
    answer = next(_ANSWERS[kind] for kind in type(error).__mro__ if kind in _ANSWERS)
    if answer is _DATABASE_AWAY:
        sqlstate = getattr(getattr(error, "orig", error), "sqlstate", None)
        return _DATABASE_REASONS.get(sqlstate or "", answer)
    return answer


def _problem(error: Exception, answer: _Answer) -> Problem:
    errors = None
    if isinstance(error, InvalidRequest):
        errors = [FieldError(field=p.field, message=p.message) for p in error.problems]
    return Problem(
        type=f"urn:farm:problem:{answer.type}",
        title=answer.status.phrase,
        status=answer.status,
        detail=answer.detail or str(error),
        errors=errors,
    )


def _answer_http(error: HTTPException) -> Response:
    """Werkzeug's own refusals; also what nobody foresaw, which Flask has logged and wrapped in a 500."""
    status = HTTPStatus(error.code or 500)
    response = _tell(Problem(title=status.phrase, status=status, detail=error.description or status.phrase))
    for name, value in error.get_headers():
        if name.lower() != "content-type":
            response.headers[name] = value
    return response


def _tell(problem: Problem) -> Response:
    if request.path.startswith("/api/"):
        body = problem.model_dump_json(exclude_none=True)
        return Response(body, status=problem.status, mimetype=PROBLEM_TYPE)
    return Response(render_template("error.html", problem=problem), status=problem.status)
