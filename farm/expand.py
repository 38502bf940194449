"""Unfold a job request into the specs of its images."""

import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar

from pydantic import ValidationError

from farm.errors import FieldProblem, InvalidRequest
from farm.specs import SEEDS, ImageSpec, JobRequest, PromptRow, batch_key, field_path

_T = TypeVar("_T")

_INHERITED = (
    "negative_prompt",
    "checkpoint",
    "width",
    "height",
    "num_inference_steps",
    "guidance_scale",
    "sampler",
)


@dataclass(frozen=True)
class Unfolded:
    """The images of one prompt: equal but for their seeds, so they share one batch key."""

    template: ImageSpec
    batch_key: str
    seeds: range

    def specs(self) -> Iterator[ImageSpec]:
        for seed in self.seeds:
            yield self.template.model_copy(update={"seed": seed % SEEDS})


def count_images(request: JobRequest) -> int:
    return sum(row.images_per_prompt or request.images_per_prompt for row in request.prompts)


def expand(request: JobRequest, checkpoint_sha256: Mapping[str, str]) -> list[Unfolded]:
    """Unfold every prompt, drawing the seeds that were left open.

    `checkpoint_sha256` maps the names of the registered checkpoints to their hashes.
    Raises InvalidRequest naming each row whose settings do not fit together.
    """
    problems: list[FieldProblem] = []
    unfolded: list[Unfolded] = []
    for index, row in enumerate(request.prompts):
        try:
            template = _template(request, row)
        except ValidationError as error:
            problems += [_row_problem(index, p["loc"], p["msg"]) for p in error.errors()]
            continue
        count = row.images_per_prompt or request.images_per_prompt
        key = batch_key(template, checkpoint_sha256[template.checkpoint])
        unfolded.append(Unfolded(template, key, range(template.seed, template.seed + count)))
    if problems:
        raise InvalidRequest(problems)
    return unfolded


def _template(request: JobRequest, row: PromptRow) -> ImageSpec:
    settings = {name: _either(getattr(row, name), getattr(request, name)) for name in _INHERITED}
    seed = _either(row.seed, request.seed)
    return ImageSpec(
        prompt=row.prompt,
        seed=secrets.randbelow(SEEDS) if seed is None else seed,
        deterministic=request.deterministic,
        **settings,
    )


def _either(own: _T | None, inherited: _T) -> _T:
    return inherited if own is None else own


def _row_problem(index: int, location: tuple[int | str, ...], message: str) -> FieldProblem:
    field, _, rest = message.removeprefix("Value error, ").partition(": ")
    if not location and rest:
        return FieldProblem(f"prompts[{index}].{field}", rest)
    return FieldProblem(field_path(("prompts", index, *location)), message)
