"""What the API's blueprints and answers have in common."""

from typing import Any

from flask import Response
from flask_openapi3.blueprint import APIBlueprint
from flask_openapi3.models.tag import Tag
from pydantic import BaseModel

from web.errors import PROBLEM_TYPE

_ROOT = "/api/v1"
_PROBLEM = {PROBLEM_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
_EVERYWHERE = {
    401: "No API key, or one that is not valid (only where the farm is open to a network).",
    422: "The request has mistakes; each is named with its field.",
    503: "A part of the farm does not answer now; try again after Retry-After seconds.",
}


def make_blueprint(name: str, description: str) -> APIBlueprint:
    """The blueprint of one noun, with the problems that any request may meet."""
    return APIBlueprint(
        name,
        __name__,
        url_prefix=_ROOT,
        abp_tags=[Tag(name=name, description=description)],
        abp_responses={status: problem(text) for status, text in _EVERYWHERE.items()},
    )


def problem(description: str) -> dict[str, Any]:
    """How /openapi.json describes an answer that is a problem document."""
    return {"description": description, "content": dict(_PROBLEM)}


def json_answer(report: BaseModel, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(report.model_dump_json(), status=status, headers=headers, mimetype="application/json")
