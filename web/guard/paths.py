"""The variable parts of addresses, and their limits, for both the API and the pages."""

from flask import Flask, request
from werkzeug.exceptions import NotFound

MAX_ID = 2**63 - 1
MAX_SEQ = 2**31 - 1

JOB_PATH = "/jobs/<int:job_id>"


def register(app: Flask) -> None:
    app.before_request(_refuse_impossible_ids)


def _refuse_impossible_ids() -> None:
    """Answer ids beyond Postgres' bigint with 404.

    `int(max=...)` in the path would answer 405 where the address has several methods.
    """
    if (request.view_args or {}).get("job_id", 0) > MAX_ID:
        raise NotFound
