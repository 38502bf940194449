"""/checkpoints and /addons: the weights a job may name."""

from flask import Response

from farm.reports import weights
from farm.weights import addons, checkpoints
from web.api.blueprint import json_answer, make_blueprint
from web.api.schemas import Addons, AddonsQuery, Checkpoints
from web.services import services

api = make_blueprint("checkpoints", "Named weights.")


@api.get("/checkpoints", summary="List the registered checkpoints", responses={200: Checkpoints})
def index() -> Response:
    with services().database.begin() as session:
        found = checkpoints.by_name(session)
    return json_answer(Checkpoints(checkpoints=weights.checkpoint_reports(found.values())))


@api.get("/addons", summary="List the registered VAEs, embeddings and LoRAs", responses={200: Addons})
def list_addons(query: AddonsQuery) -> Response:
    kinds = (query.kind,) if query.kind else addons.KINDS
    with services().database.begin() as session:
        found = [addon for kind in kinds for addon in addons.by_name(session, kind).values()]
    return json_answer(Addons(addons=weights.addon_reports(found)))
