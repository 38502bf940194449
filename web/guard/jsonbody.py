"""How a body is read: strictly, and with a clear message about mistakes in it."""

import json
from typing import Any, NoReturn

from flask import Request
from werkzeug.exceptions import BadRequest, UnsupportedMediaType

from web.guard.limits import FormParser, check_values


class FarmRequest(Request):
    """A request whose broken JSON is never silently ignored."""

    form_data_parser_class = FormParser

    def get_json(self, force: bool = False, silent: bool = False, cache: bool = True) -> Any:
        """Read the body as JSON; a body without a media type is read as JSON.

        flask-openapi3 asks silently, and would then report a broken body as an empty one.
        """
        check_values(self.get_data(cache=cache))
        try:
            return super().get_json(force=force or not self.mimetype, silent=False, cache=cache)
        except RecursionError:
            raise BadRequest("The body is nested too deeply.") from None

    def on_json_loading_failed(self, e: ValueError | None) -> NoReturn:
        if e is None:
            raise UnsupportedMediaType("Send JSON, with the header Content-Type: application/json.")
        raise BadRequest(f"The body is not JSON: {_explain_bad_json(e)}.")


def _explain_bad_json(error: ValueError) -> str:
    """What is wrong, and where."""
    if isinstance(error, json.JSONDecodeError):
        return f"line {error.lineno}, column {error.colno}: {error.msg[0].lower()}{error.msg[1:]}"
    return f"byte {error.start + 1} is not UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)
