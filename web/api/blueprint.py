"""What the API's blueprints and answers have in common."""

from typing import Any

from flask import Response
from flask_openapi3.blueprint import APIBlueprint
from flask_openapi3.models.tag import Tag
from flask_openapi3.types import ResponseDict
from pydantic import BaseModel

from web.errors import PROBLEM_TYPE
from web.evidence import hide_evidence


def header(description: str, kind: str = "string", *, required: bool = True) -> dict[str, Any]:
    """How /openapi.json describes a header of an answer; `kind` is a type of JSON schema."""
    return {"description": description, "required": required, "schema": {"type": kind}}


def problem(description: str, headers: dict[str, Any] | None = None) -> dict[str, Any]:
    """How /openapi.json describes an answer that is a problem document."""
    return {"description": description, "content": dict(_PROBLEM), "headers": headers or {}}


_ROOT = "/api/v1"
_PROBLEM = {PROBLEM_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
_EVERYWHERE: ResponseDict = {
    400: problem("Not a request that HTTP and JSON allow, or (on loopback) one that names another host."),
    401: problem(
        "No API key, or one that is not valid; on loopback also: another user of the machine asks without one.",
        {"WWW-Authenticate": header("How to send a key.")},
    ),
    403: problem("The request came from another site's page, or through a proxy that is not trusted."),
    408: problem("The request came too slowly."),
    413: problem("The body is larger than this address takes; the limit is named."),
    415: problem("The body is not sent as application/json."),
    422: problem("The request has mistakes; each is named with its field."),
    429: problem(
        "Many keys from this address were not valid, and this one is not either; a valid one is always taken.",
        {"Retry-After": header("After how many seconds to try again.", "integer")},
    ),
    503: problem(
        "A part of the farm does not answer now; try again.",
        {"Retry-After": header("After how many seconds to try again.", "integer")},
    ),
}


def make_blueprint(name: str, description: str) -> APIBlueprint:
    """The blueprint of one noun, with the problems that any request may meet."""
    return APIBlueprint(
        name,
        __name__,
        url_prefix=_ROOT,
        abp_tags=[Tag(name=name, description=description)],
        abp_responses=_EVERYWHERE,
    )


def json_answer(report: BaseModel, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(
        hide_evidence(report).model_dump_json(), status=status, headers=headers, mimetype="application/json"
    )
