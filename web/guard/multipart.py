"""Forms with files: read only by the addresses that accept them."""

from collections.abc import Mapping
from io import BytesIO

from flask import Request
from werkzeug.datastructures import MultiDict
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.formparser import FormDataParser

from web.guard.limits import MAX_FORM_FIELDS, MAX_FORM_TEXT_BYTES

FORM_WITH_FILES = "multipart/form-data"


def read_form(request: Request) -> tuple[MultiDict[str, str], Mapping[str, bytes]]:
    """The fields of a form, and the content of the files that were chosen; a plain form has none."""
    if request.mimetype != FORM_WITH_FILES:
        return request.form, {}
    parser = FormDataParser(
        stream_factory=lambda *_, **__: BytesIO(),
        max_form_memory_size=MAX_FORM_TEXT_BYTES,
        max_form_parts=MAX_FORM_FIELDS,
    )
    body = request.get_data()
    try:
        _, fields, files = parser.parse(BytesIO(body), FORM_WITH_FILES, len(body), request.mimetype_params)
    except RequestEntityTooLarge:
        raise RequestEntityTooLarge(
            f"The form has more than {MAX_FORM_FIELDS} fields, or more than {MAX_FORM_TEXT_BYTES:,} bytes of text "
            "besides its files. Send larger jobs through POST /api/v1/jobs, or with `farm submit`."
        ) from None
    # A field without a chosen file is sent as one without a name.
    return fields, {name: file.read() for name, file in files.items() if file.filename}
