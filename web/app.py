"""The Flask app: the parts of the portal, put together."""

from typing import Any

from flask import Flask
from flask_openapi3.models.info import Info
from flask_openapi3.openapi import OpenAPI

from farm import __version__
from farm.config import Settings
from web import api, auth, docs, errors, portal, safety
from web.files import files
from web.health import health
from web.requests import FarmRequest
from web.services import Services

MAX_BODY_BYTES = 32 * 2**20

_SECURITY: dict[str, Any] = {
    "key": {"type": "http", "scheme": "bearer", "description": "An API key, where the farm is open to a network."}
}


def create_app(settings: Settings) -> OpenAPI:
    """The portal for these settings. Nothing is connected before the first request. Raises ConfigError."""
    app = OpenAPI(
        "web",
        info=Info(title="Diffusion Farm", version=__version__),
        security_schemes=_SECURITY,
        validation_error_callback=errors.refuse_invalid,
        validation_error_model=errors.Problem,
        doc_ui=False,
    )
    _configure(app)
    Services.of(settings).install(app)
    safety.register(app, settings)
    auth.register(app, settings)
    errors.register(app)
    api.register(app)
    portal.register(app)
    docs.register(app)
    app.register_blueprint(health)
    app.register_blueprint(files)
    return app


def _configure(app: Flask) -> None:
    app.request_class = FarmRequest
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY_BYTES
    # A form's texts count separately, and thousands of prompts in one form are welcome.
    app.config["MAX_FORM_MEMORY_SIZE"] = MAX_BODY_BYTES
