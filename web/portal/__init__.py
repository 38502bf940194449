"""The pages: rendered here, refreshed in place by a few lines of JavaScript, complete without them.

`web.app` registers them; the submit form has a room of its own. They show `farm.reports` and do not import
`web.api`.
"""

from flask import Flask

from web.portal import checkpoints, filters, jobs, workers
from web.portal.submit import page

_PARTS = (jobs, page, workers, checkpoints)


def register(app: Flask) -> None:
    filters.register(app)
    for part in _PARTS:
        app.register_blueprint(part.pages)
