"""/uploads: pictures and masks that jobs may name."""

from typing import Literal

from flask import Request, Response, request, url_for
from pydantic import BaseModel, ConfigDict, Field
from werkzeug.exceptions import UnsupportedMediaType

from farm.errors import InvalidRequest
from farm.pictures import uploads
from farm.pictures.uploads import Desk
from farm.reports.shapes import UploadReport
from farm.spec.fields import Digest
from web.api.blueprint import header, json_answer, make_blueprint, problem
from web.api.schemas import Question
from web.guard.auth import current_user
from web.guard.multipart import FORM_WITH_FILES, read_form
from web.services import services

api = make_blueprint("uploads", "Pictures and masks that jobs may name.")

_FIELD = "file"
_NAMELESS = "application/octet-stream"
_MEDIA_TYPES = ("image/png", "image/jpeg", "image/webp", "image/avif", "image/gif", "image/bmp", _NAMELESS)

# flask-openapi3 describes only JSON bodies and its own forms.
_FILE = {"type": "string", "format": "binary"}
_FORM_SCHEMA = {"type": "object", "properties": {_FIELD: _FILE}, "required": [_FIELD]}
_BODY = {
    "description": "The file itself, under any media type `image/...`, or a form with the field `file`.",
    "content": {**{kind: {"schema": _FILE} for kind in _MEDIA_TYPES}, FORM_WITH_FILES: {"schema": _FORM_SCHEMA}},
    "required": True,
}


class UploadQuery(Question):
    role: Literal["input", "mask"] = Field(
        "input",
        description="A mask is kept in grey: its alpha where it was painted on a transparent layer, else its "
        "brightness; `note` says which, where that may surprise.",
    )


class UploadPath(BaseModel):
    """Which upload."""

    upload_id: Digest = Field(description="The sha256 of the stored picture, from the answer to its upload.")


class KeptUpload(UploadReport):
    """A picture as it is stored."""

    # This is how flask-openapi3 takes the headers of an answer.
    model_config = ConfigDict(
        openapi_extra={"headers": {"Location": header("Where the upload is found.")}}  # type: ignore[typeddict-unknown-key]
    )


@api.post(
    "/uploads",
    summary="Send a picture or a mask",
    responses={200: KeptUpload, 201: KeptUpload, 415: problem("The body is no file and no form with files.")},
    openapi_extensions={"requestBody": _BODY},
)
def send(query: UploadQuery) -> Response:
    """It is kept as a PNG without metadata, upright, in sRGB, under the sha256 of that: 201, or 200 where it was.

    What no job needs is deleted after a day, unless the farm is set otherwise; sending it again is harmless.
    """
    kept = uploads.keep(_open_desk(), _read_file(request), role=query.role, field=_FIELD)
    headers = {"Location": url_for("uploads.show", upload_id=kept.report.id)}
    return json_answer(KeptUpload(**kept.report.model_dump()), 201 if kept.is_new else 200, headers)


@api.get(
    "/uploads/<string:upload_id>",
    summary="Look at an upload",
    responses={200: UploadReport, 404: problem("There is no such upload, or not any more.")},
)
def show(path: UploadPath) -> Response:
    """The link expires; ask again for a new one."""
    desk = _open_desk()
    with desk.database.begin() as session:
        return json_answer(uploads.show(session, desk, path.upload_id))


def _open_desk() -> Desk:
    return services().desk_of(current_user())


def _read_file(request: Request) -> bytes:
    """The uploaded file, from the body or a form."""
    if request.mimetype == FORM_WITH_FILES:
        _, files = read_form(request)
        if _FIELD not in files:
            raise InvalidRequest.at(_FIELD, "is missing: send the picture in the form's field `file`")
        return files[_FIELD]
    if request.mimetype in ("", _NAMELESS) or request.mimetype.startswith("image/"):
        return request.get_data()
    raise UnsupportedMediaType(
        f"Send the file itself as image/png or the like, or {FORM_WITH_FILES} with the field `{_FIELD}`."
    )
