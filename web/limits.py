"""How much a request may carry. What is larger is refused, with the limit named, before it is read.

The length of a URL and of each header are gunicorn's business: 4 KB, 8 KB, and 100 headers.
"""

from collections.abc import Mapping
from io import BytesIO
from typing import Any

from flask import Flask, request
from werkzeug.exceptions import RequestEntityTooLarge, UnsupportedMediaType
from werkzeug.formparser import FormDataParser

MAX_BODY_BYTES = 16 * 2**10
MAX_JOB_BYTES = 32 * 2**20
MAX_FORM_FIELDS = 100

# By endpoint; every other takes MAX_BODY_BYTES.
_LARGER: Mapping[str | None, int] = {"jobs.submit": MAX_JOB_BYTES, "submit.submit": MAX_JOB_BYTES}


def register(app: Flask) -> None:
    app.before_request(_limit_body)


def _limit_body() -> None:
    limit = _LARGER.get(request.endpoint, MAX_BODY_BYTES)
    declared = request.content_length
    length = _read_undeclared(limit) if declared is None else declared
    if length > limit:
        raise RequestEntityTooLarge(f"The body is larger than {limit:,} bytes, the most that this address takes.")


def _read_undeclared(limit: int) -> int:
    """Read a body that comes in chunks, its length told nowhere, until it is too long at the latest."""
    # werkzeug cuts a body off at its limit without a word: one byte more shows that there was more.
    request.max_content_length = limit + 1
    return len(request.get_data())


class FormParser(FormDataParser):
    """Reads forms as the portal's own pages send them, and no others."""

    def parse(
        self, stream: Any, mimetype: str, content_length: int | None, options: dict[str, str] | None = None
    ) -> Any:
        """Parse a url-encoded form of at most MAX_FORM_FIELDS fields; other bodies are left alone."""
        if mimetype == "multipart/form-data":
            raise UnsupportedMediaType("Send the form as application/x-www-form-urlencoded.")
        if mimetype == "application/x-www-form-urlencoded":
            stream = BytesIO(_check_fields(stream.read()))
        return super().parse(stream, mimetype, content_length, options)


def _check_fields(form: bytes) -> bytes:
    """The form. werkzeug counts no fields: 16 million of them fit into a body, and fill the memory."""
    if form.count(b"&") >= MAX_FORM_FIELDS:
        raise RequestEntityTooLarge(f"The form has more than {MAX_FORM_FIELDS} fields.")
    return form
