"""/workers and /stats: who renders, and the farm at a glance."""

from flask import Response

from farm import overview
from farm.reports import FarmReport
from web.api.blueprint import json_answer, make_blueprint
from web.api.schemas import Workers
from web.services import services

api = make_blueprint("workers", "The processes that render, one for each device.")


@api.get("/workers", summary="List the workers", responses={200: Workers})
def index() -> Response:
    """By name; those that went away within a day come last."""
    with services().database.begin() as session:
        return json_answer(Workers(workers=overview.workers(session)))


@api.get("/stats", summary="The farm at a glance", responses={200: FarmReport})
def stats() -> Response:
    with services().database.begin() as session:
        return json_answer(overview.farm(session))
