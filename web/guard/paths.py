"""What addresses may hold; both the API and the pages use these."""

from flask import Flask, request
from werkzeug.exceptions import NotFound

MAX_ID = 2**63 - 1
MAX_SEQ = 2**31 - 1

JOB_PATH = "/jobs/<int:job_id>"


def register(app: Flask) -> None:
    app.before_request(_refuse_what_cannot_be)


def _refuse_what_cannot_be() -> None:
    """An id beyond what Postgres can count is simply not found.

    As `int(max=...)` in the path this would be 405 where the address knows several methods.
    """
    if (request.view_args or {}).get("job_id", 0) > MAX_ID:
        raise NotFound
