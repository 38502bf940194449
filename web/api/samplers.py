"""/samplers: the samplers a job may name."""

from flask import Response

from farm.spec.samplers import DEFAULT_SAMPLER, SAMPLERS
from web.api.blueprint import json_answer, make_blueprint
from web.api.schemas import SamplerReport, Samplers

api = make_blueprint("samplers", "Samplers, by their WebUI names.")


@api.get("/samplers", summary="List the samplers", responses={200: Samplers})
def index() -> Response:
    samplers = [
        SamplerReport(
            name=s.name,
            schedule_types=list(s.schedules),
            default_schedule_type=s.default_schedule,
            max_steps=s.max_steps,
            is_default=s.name == DEFAULT_SAMPLER,
        )
        for s in SAMPLERS.values()
    ]
    return json_answer(Samplers(samplers=samplers))
