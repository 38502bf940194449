"""The Flask app: the parts of the portal, put together."""

from typing import Any

from flask_openapi3.models.info import Info
from flask_openapi3.models.server import Server
from flask_openapi3.openapi import OpenAPI

from farm import __version__
from farm.config import Settings
from web import api, docs, errors, portal
from web.files import files
from web.guard import admission, auth, foreign, forwarded, limits, paths
from web.guard.jsonbody import FarmRequest
from web.health import health
from web.services import Services

_KEYS: dict[str, Any] = {
    "key": {"type": "http", "scheme": "bearer", "description": "An API key, where the farm is open to a network."},
    "password": {"type": "http", "scheme": "basic", "description": "The same key as password, with any user name."},
}


def create_app(settings: Settings) -> OpenAPI:
    """The portal for these settings. Nothing is connected before the first request. Raises ConfigError."""
    app = OpenAPI(
        "web",
        info=Info(title="Diffusion Farm", version=__version__),
        security_schemes=_KEYS,
        openapi_extensions={"security": _security(settings)},
        servers=[Server(url=settings.base_path.rstrip("/") or "/")],
        validation_error_callback=errors.refuse_invalid,
        validation_error_model=errors.Problem,
        doc_ui=False,
    )
    app.request_class = FarmRequest
    Services.of(settings).install(app)
    foreign.register(app, settings)
    auth.register(app, settings)
    limits.register(app)
    paths.register(app)
    errors.register(app)
    api.register(app)
    portal.register(app)
    docs.register(app)
    app.register_blueprint(health)
    app.register_blueprint(files)
    admission.register(app)
    forwarded.register(app, settings)
    return app


def _security(settings: Settings) -> list[dict[str, list[str]]]:
    """The keys that /openapi.json requires: any, or none on loopback without proxies."""
    keys: list[dict[str, list[str]]] = [{name: []} for name in _KEYS]
    return [*keys, {}] if foreign.is_private(settings) else keys
