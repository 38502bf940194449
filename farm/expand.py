"""Unfold a job request into the specs of its images."""

import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, islice

from farm.drawing import drawn
from farm.errors import FieldProblem, InvalidRequest
from farm.fields import SEEDS
from farm.geometry import Misfit, Settings
from farm.library import KnownCheckpoint, Library
from farm.origins import Origin, given
from farm.prompts.plan import warnings_of, warnings_of_negative
from farm.requests import JobRequest, PromptRow
from farm.settle import Settled, settle, styled
from farm.specs import ImageSpec, batch_key
from farm.sweeps import Cell, cell_of, count_points, placed, points, weighted

_MOST_PROBLEMS = 1_000
_MOST_WARNINGS = 20
# Names are looked for in so many prompts that differ.
_MOST_DOUBTED = 1_000


@dataclass(frozen=True)
class Unfolded:
    """Images that are equal but for their seeds, so they share one batch key; `cell` is that of the first."""

    template: ImageSpec
    checkpoint: KnownCheckpoint
    batch_key: str
    seeds: range
    cell: Cell | None = None

    def specs(self) -> Iterator[ImageSpec]:
        for seed in self.seeds:
            yield self.template.model_copy(update={"seed": seed % SEEDS})


@dataclass(frozen=True)
class Unfolding:
    """All the images of a request, and what its owner should know of them."""

    groups: tuple[Unfolded, ...]
    warnings: tuple[str, ...]

    @property
    def images(self) -> int:
        return sum(len(group.seeds) for group in self.groups)


@dataclass(frozen=True)
class Limits:
    """What a farm allows: so many images a job, and so long a side in pixels."""

    images: int = 1_000_000
    side: int = 8192


def count_images(request: JobRequest) -> int:
    """How many images a request unfolds into; with all combinations of dynamic prompts there are more."""
    images = sum(row.images_per_prompt or request.images_per_prompt or 1 for row in request.prompts)
    return images * count_points(request)


def expand(request: JobRequest, library: Library, limits: Limits = Limits()) -> Unfolding:
    """Unfold every prompt at every point of the sweep, drawing the seeds that were left open.

    Raises InvalidRequest naming each setting that does not fit, once; of very many the first.
    """
    problems: dict[FieldProblem, None] = {}
    groups: list[Unfolded] = []
    images = 0
    for group in _groups(request, library, limits, problems):
        groups.append(group)
        images += len(group.seeds)
        if images > limits.images:
            raise InvalidRequest([_too_many(images, limits.images)])
    if problems:
        raise InvalidRequest(list(problems))
    return Unfolding(tuple(groups), _warnings(groups, library))


def _too_many(images: int, limit: int) -> FieldProblem:
    return FieldProblem(
        "prompts", f"the job would unfold into {images:,} images or more; the limit is {limit:,}. Split it"
    )


def _groups(
    request: JobRequest, library: Library, limits: Limits, problems: dict[FieldProblem, None]
) -> Iterator[Unfolded]:
    """The groups point by point, so that a costly axis changes slowest, and at each point prompt by prompt."""
    shared = {**_usual(library), **given(request)}
    seeds = [_first_seed(request, row) for row in request.prompts]
    for point in points(request):
        for index, row in enumerate(request.prompts):
            origin = Origin(request, index, point)
            settings = {**shared, **given(row), "prompt": row.prompt, "seed": seeds[index]}
            try:
                settings = styled(placed(settings, request.axes, point), library)
                settings = weighted(settings, request.axes, point)
                yield from _unfolded(origin, settings, library, limits, problems)
            except Misfit as misfit:
                problems[FieldProblem(origin.field(misfit.field), misfit.message)] = None
            except InvalidRequest as error:
                problems.update({FieldProblem(origin.field(p.field), p.message): None for p in error.problems})
            # Each may take long to word; whoever sends thousands that are wrong alike has seen enough.
            if len(problems) >= _MOST_PROBLEMS:
                return


def _usual(library: Library) -> dict[str, object]:
    """The checkpoint, where only one can be meant."""
    return {"checkpoint": next(iter(library.checkpoints))} if len(library.checkpoints) == 1 else {}


def _first_seed(request: JobRequest, row: PromptRow) -> int:
    """One for a prompt at all points of the sweep: what is compared differs in the axes alone."""
    given = row.seed if row.seed is not None else request.seed
    return secrets.randbelow(SEEDS) if given in (None, -1) else given


def _unfolded(
    origin: Origin, settings: Settings, library: Library, limits: Limits, problems: dict[FieldProblem, None]
) -> Iterator[Unfolded]:
    """The images of one prompt at one point."""
    request, repeat = origin.request, 0
    row = request.prompts[origin.row]
    count = row.images_per_prompt or request.images_per_prompt or 1
    for texts, seeds in drawn(request.dynamic_prompts, settings, library, count, limits.images):
        settled = settle(request.mode, {**settings, **texts, "seed": seeds[0] % SEEDS, **_fixed(request)}, library)
        for problem in (*settled.problems, *_too_large(settled, settings, limits.side)):
            field = origin.field(problem.field, is_combination=settled.is_combination)
            problems[FieldProblem(field, problem.message)] = None
        if settled.spec is None:
            return
        checkpoint = library.checkpoints[settled.spec.checkpoint]
        cell = cell_of(request, origin.row, origin.point, repeat) if request.axes else None
        key = batch_key(settled.spec, checkpoint.sha256, checkpoint.family.name)
        yield Unfolded(settled.spec, checkpoint, key, seeds, cell)
        repeat += len(seeds)


def _too_large(settled: Settled, settings: Settings, limit: int) -> Iterator[FieldProblem]:
    """What would be rendered larger than this farm does: by its spec, or else by the sides that were asked for."""
    if settled.spec is None:
        sizes = [(name, settings[name]) for name in ("width", "height") if name in settings]
    else:
        sizes = [
            (_decides(name, number, settings), side)
            for number, size in enumerate(settled.spec.rendered_sizes)
            for name, side in zip(("width", "height"), size, strict=True)
        ]
    for name, side in sizes:
        if side > limit:
            yield FieldProblem(name, f"must be at most {limit} on this farm, not {side}")


def _decides(side: str, number: int, settings: Settings) -> str:
    """Which setting decides a side of a pass: the first follows from what was given, the second from `hires`."""
    if number:
        return "hires.scale" if "scale" in settings["hires"] else f"hires.{side}"
    if settings.get("aspect"):
        return "aspect"
    return "scale" if "scale" in settings else side


def _fixed(request: JobRequest) -> dict[str, bool]:
    return {"deterministic": True} if request.deterministic else {}


def _texts(groups: list[Unfolded]) -> Iterator[tuple[str, str]]:
    """Each text once, with the base of its checkpoint; of very many the first."""
    texts = ((g.template.prompt, g.template.negative_prompt, g.checkpoint.family.base) for g in groups)
    for prompt, negative, base in islice(dict.fromkeys(texts), _MOST_DOUBTED):
        yield f"{prompt}\n{negative}", base


def _warnings(groups: list[Unfolded], library: Library) -> tuple[str, ...]:
    """What the prompt language has to say, each thing once; of very much the first."""
    prompts = dict.fromkeys(group.template.prompt for group in groups)
    negatives = dict.fromkeys(group.template.negative_prompt for group in groups)
    found: dict[str, None] = {}
    doubts = (library.name_doubts(text, base) for text, base in _texts(groups))
    for said in chain(map(warnings_of, prompts), map(warnings_of_negative, negatives), doubts):
        found.update(dict.fromkeys(said))
        if len(found) >= _MOST_WARNINGS:
            break
    return tuple(islice(found, _MOST_WARNINGS))
