"""The API under /api/v1: one module for each noun.

`web.app` registers it. Queries and answers are the schemas here and the reports of `farm.reports`; errors go
through `web.errors`. It does not import `web.portal`.
"""

from flask_openapi3.openapi import OpenAPI

from web.api import checkpoints, images, jobs, samplers, tasks, uploads, workers

_NOUNS = (jobs, tasks, images, checkpoints, samplers, workers, uploads)


def register(app: OpenAPI) -> None:
    for noun in _NOUNS:
        app.register_api(noun.api)
