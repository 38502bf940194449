"""Errors as answers: one table from errors to statuses, sent as RFC 9457 problems or as pages."""

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
    """One mistake in one field, and how to correct it."""

    field: str = Field(description="Where it is, such as `prompts[3].width`.")
    message: str


class Problem(BaseModel):
    """What went wrong, as an RFC 9457 problem document."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    errors: list[FieldError] | None = None


@dataclass(frozen=True)
class _ProblemKind:
    """How an error is answered. Without a `detail` with its own message; some messages name hosts or folders."""

    status: HTTPStatus
    type: str
    detail: str | None = None


_DATABASE_UNAVAILABLE = _ProblemKind(
    HTTPStatus.SERVICE_UNAVAILABLE, "database-unavailable", "The database does not answer now; try again shortly."
)
_DATABASE_FULL = _ProblemKind(
    HTTPStatus.SERVICE_UNAVAILABLE,
    "database-full",
    "The database's disk is full, and nothing was stored. Its owner must make room.",
)
_DATABASE_CLOSED = _ProblemKind(
    HTTPStatus.SERVICE_UNAVAILABLE,
    "database-read-only",
    "The database takes no changes now, and nothing was stored: it is a standby, or its owner made it read-only.",
)
# By SQLSTATE; all other passing errors mean that the database does not answer.
_DATABASE_REASONS: Mapping[str, _ProblemKind] = {"53100": _DATABASE_FULL, "25006": _DATABASE_CLOSED}
_STORE_FULL = _ProblemKind(
    HTTPStatus.SERVICE_UNAVAILABLE, "store-full", "The artifact store has no room left. Its owner must make some."
)
_STORE_UNAVAILABLE = _ProblemKind(
    HTTPStatus.SERVICE_UNAVAILABLE,
    "store-unavailable",
    "The artifact store does not answer now; try again shortly.",
)
_STORE_REFUSES = _ProblemKind(
    HTTPStatus.SERVICE_UNAVAILABLE,
    "store-refuses",
    "The artifact store refuses this farm: its credentials, bucket or rights are wrong. Its owner must fix them.",
)
_MISSING = _ProblemKind(HTTPStatus.NOT_FOUND, "object-missing", "The artifact store holds no such object.")

_PROBLEM_KINDS: Mapping[type[Exception], _ProblemKind] = {
    InvalidRequest: _ProblemKind(
        HTTPStatus.UNPROCESSABLE_ENTITY, "invalid-request", "The request has mistakes; nothing was stored."
    ),
    NotFound: _ProblemKind(HTTPStatus.NOT_FOUND, "not-found"),
    Conflict: _ProblemKind(HTTPStatus.CONFLICT, "conflict"),
    IdempotencyConflict: _ProblemKind(HTTPStatus.CONFLICT, "idempotency-conflict"),
    BadLink: _ProblemKind(HTTPStatus.FORBIDDEN, "bad-link"),
    Busy: _ProblemKind(HTTPStatus.SERVICE_UNAVAILABLE, "busy"),
    ObjectMissing: _MISSING,
    StoreError: _STORE_UNAVAILABLE,
    StoreRefused: _STORE_REFUSES,
    StoreFull: _STORE_FULL,
    **dict.fromkeys(PASSING, _DATABASE_UNAVAILABLE),
    # COPY uses the driver directly.
    **dict.fromkeys(PASSING_IN_DRIVER, _DATABASE_UNAVAILABLE),
}


def register(app: Flask) -> None:
    """Answer every error of the table, and every HTTP error, as this module describes."""
    for kind in _PROBLEM_KINDS:
        app.register_error_handler(kind, _answer_known)
    app.register_error_handler(HTTPException, _answer_http)


def refuse_invalid(error: ValidationError) -> Response:
    """What flask-openapi3 calls when a request does not fit its schema."""
    raise InvalidRequest(problems_of(error)) from None


def _answer_known(error: Exception) -> Response:
    answer = _find_kind(error)
    response = _render_problem(_build_problem(error, answer))
    if answer.status == HTTPStatus.SERVICE_UNAVAILABLE:
        log.warning("A part of the farm did not answer.", path=request.path, error=str(error))
        response.headers["Retry-After"] = str(RETRY_SECONDS)
    return response


def _find_kind(error: Exception) -> _ProblemKind:
    answer = next(_PROBLEM_KINDS[kind] for kind in type(error).__mro__ if kind in _PROBLEM_KINDS)
    if answer is _DATABASE_UNAVAILABLE:
        sqlstate = getattr(getattr(error, "orig", error), "sqlstate", None)
        return _DATABASE_REASONS.get(sqlstate or "", answer)
    return answer


def _build_problem(error: Exception, answer: _ProblemKind) -> Problem:
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
    """Werkzeug's own refusals; also unexpected errors, which Flask has logged and wrapped in a 500."""
    status = HTTPStatus(error.code or 500)
    response = _render_problem(
        Problem(title=status.phrase, status=status, detail=error.description or status.phrase)
    )
    for name, value in error.get_headers():
        if name.lower() != "content-type":
            response.headers[name] = value
    return response


def _render_problem(problem: Problem) -> Response:
    if request.path.startswith("/api/"):
        body = problem.model_dump_json(exclude_none=True)
        return Response(body, status=problem.status, mimetype=PROBLEM_TYPE)
    return Response(render_template("error.html", problem=problem), status=problem.status)
