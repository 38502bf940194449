"""The size limits of requests. A larger request is refused, with the limit named, before it is read.

The lengths of URLs and headers are limited in `web.serving`: 4 KB, 8 KB, and 100 headers.
"""

import re
from collections.abc import Mapping
from io import BytesIO
from typing import Any

from flask import Flask, request
from werkzeug.exceptions import RequestEntityTooLarge, UnsupportedMediaType
from werkzeug.formparser import FormDataParser

from web.services import services

MAX_BODY_BYTES = 16 * 2**10
MAX_JOB_BYTES = 32 * 2**20
MAX_FORM_FIELDS = 100
# As text in a form comes back with the page that shows what is wrong. Larger texts must be sent to the API.
MAX_FORM_TEXT_BYTES = 2**20
# A body of 32 MiB can hold eleven million lists, which take twenty times as much memory as the body.
MAX_JSON_VALUES = 2_000_000

# By endpoint; others take MAX_BODY_BYTES, except those that take pictures, whose limit is a setting.
_LARGER: Mapping[str | None, int] = {"jobs.submit": MAX_JOB_BYTES}
# An unclosed string matches to the end of the body: otherwise each quote in it would be tried as a beginning.
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)', re.DOTALL)
_UPLOADS = "uploads.send"
_FORM = "submit.submit"


def register(app: Flask) -> None:
    app.before_request(_limit_body)


def _limit_body() -> None:
    limit = limit_of(request.endpoint)
    declared = request.content_length
    length = _read_undeclared(limit) if declared is None else declared
    if length > limit:
        raise RequestEntityTooLarge(f"The body is larger than {limit:,} bytes, the most that this address accepts.")


def limit_of(endpoint: str | None) -> int:
    """The most bytes that a body sent to this endpoint may have."""
    if endpoint == _UPLOADS:
        return services().settings.max_upload_bytes
    if endpoint == _FORM:
        # A picture and its mask, and the text of the other fields; without files only that.
        files = 2 * services().settings.max_upload_bytes if request.mimetype == "multipart/form-data" else 0
        return files + MAX_FORM_TEXT_BYTES
    return _LARGER.get(endpoint, MAX_BODY_BYTES)


def _read_undeclared(limit: int) -> int:
    """Read a body that comes in chunks, without a declared length, at most until it exceeds the limit."""
    # werkzeug silently cuts a body off at its limit: one byte more shows that it was longer.
    request.max_content_length = limit + 1
    return len(request.get_data())


def check_values(body: bytes) -> None:
    """Refuse JSON of too many values before it is parsed. Raises RequestEntityTooLarge."""
    if body.count(b",") > MAX_JSON_VALUES and _has_countless_values(body):
        raise RequestEntityTooLarge(
            f"The body has more than {MAX_JSON_VALUES:,} values, the most that this address accepts."
        )


def _has_countless_values(body: bytes) -> bool:
    """Whether there are so many commas outside of its strings: prompts are full of them."""
    values = end = 0
    for string in _STRING.finditer(body):
        values += body.count(b",", end, string.start())
        end = string.end()
        if values > MAX_JSON_VALUES:
            return True
    return values + body.count(b",", end) > MAX_JSON_VALUES


class FormParser(FormDataParser):
    """Reads forms as the portal's own pages send them, and no others."""

    def parse(
        self, stream: Any, mimetype: str, content_length: int | None, options: dict[str, str] | None = None
    ) -> Any:
        """Parse a url-encoded form of at most MAX_FORM_FIELDS fields; other bodies are left alone.

        Forms with files are read by `web.guard.multipart`, where files are taken.
        """
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
