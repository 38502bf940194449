"""/openapi.json, made from the schemas, and a page to read and try it, which works offline."""

from flask import Blueprint, Response, jsonify, make_response, render_template
from flask_openapi3.openapi import OpenAPI
from flask_openapi3_swagger.plugins import RegisterPlugin  # type: ignore[import-untyped]  # ships no types

from web.guard.foreign import allow_inline_styles

docs = Blueprint("docs", __name__)


def register(app: OpenAPI) -> None:
    """Add the two addresses, and Swagger's scripts from its package under /docs."""
    app.register_blueprint(docs)
    app.register_blueprint(RegisterPlugin.register(doc_url="openapi.json"), url_prefix="/docs")
    app.add_url_rule("/openapi.json", "openapi", lambda: jsonify(app.api_doc))


@docs.get("/docs")
def show() -> Response:
    return allow_inline_styles(make_response(render_template("docs.html")))
