"""/checkpoints: the weights a job may name."""

from flask import Response

from farm import catalog, overview
from web.api.blueprint import json_answer, make_blueprint
from web.api.schemas import Checkpoints
from web.services import services

api = make_blueprint("checkpoints", "Named weights.")


@api.get("/checkpoints", summary="List the registered checkpoints", responses={200: Checkpoints})
def index() -> Response:
    with services().database.begin() as session:
        found = catalog.by_name(session)
    return json_answer(Checkpoints(checkpoints=overview.checkpoint_reports(found.values())))
