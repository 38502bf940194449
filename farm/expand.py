"""Unfold a job request into the specs of its images."""

import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field

from farm.budget import Budget, OverBudget
from farm.drawing import drawn
from farm.errors import FieldProblem, InvalidRequest
from farm.fields import SEEDS
from farm.geometry import Misfit, Settings
from farm.library import KnownCheckpoint, Library
from farm.notices import Said, warnings_of_rows
from farm.origins import Origin, given
from farm.prompts.template import count_signs
from farm.prompts.wildcards import WildcardLookup
from farm.requests import JobRequest, PromptRow
from farm.settle import Settled, settle, styled
from farm.specs import ImageSpec, batch_key
from farm.sweeps import Cell, cell_of, count_points, placed, points, weighted

_MOST_PROBLEMS = 100


@dataclass(frozen=True)
class Unfolded:
    """Images of a row that are equal but for their seeds, so they share one batch key.

    `cell` is that of the first. Rows are counted from 0.
    """

    template: ImageSpec
    checkpoint: KnownCheckpoint
    batch_key: str
    seeds: range
    row: int
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


@dataclass
class _Work:
    """What is unfolded: the request with what it may name, what is left of its budget, and what was found wrong."""

    request: JobRequest
    library: Library
    limits: "Limits"
    budget: Budget
    lookup: WildcardLookup
    problems: dict[FieldProblem, None] = field(default_factory=dict)


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

    Raises InvalidRequest naming each setting that does not fit, once; of very many the first. OverBudget, which is
    one too, says that the request makes more work than one may.
    """
    budget = Budget(limits.images)
    work = _Work(request, library, limits, budget, WildcardLookup(library.wildcards, budget.lines.spend))
    _require(work)
    groups: list[Unfolded] = []
    kinds: set[str] = set()
    images = 0
    for group in _groups(work):
        if group.batch_key not in kinds:
            budget.kinds.spend(1)
            kinds.add(group.batch_key)
        groups.append(group)
        images += len(group.seeds)
        if images > limits.images:
            raise InvalidRequest([_too_many(images, limits.images)])
    if work.problems:
        raise InvalidRequest(list(work.problems))
    return Unfolding(tuple(groups), _warnings(work, groups))


def _warnings(work: _Work, groups: list[Unfolded]) -> tuple[str, ...]:
    said = (
        Said(group.row, group.template.prompt, group.template.negative_prompt, group.checkpoint.family.base)
        for group in groups
    )
    return warnings_of_rows(said, len(work.request.prompts), work.budget, work.library.name_doubts)


def _require(work: _Work) -> None:
    """Refuse what all rows together take at least, before the first of them is unfolded. Raises OverBudget."""
    texts = [text for row in work.request.prompts for text in (row.prompt, row.negative_prompt or "")]
    if work.request.dynamic_prompts != "off":
        work.budget.reading.require(sum(map(count_signs, texts)))
    work.budget.tags.require(sum(text.count("<") for text in texts))


def _too_many(images: int, limit: int) -> FieldProblem:
    return FieldProblem(
        "prompts", f"the job would unfold into {images:,} images or more; the limit is {limit:,}. Split it"
    )


def _groups(work: _Work) -> Iterator[Unfolded]:
    """The groups point by point, so that a costly axis changes slowest, and at each point prompt by prompt."""
    request, problems = work.request, work.problems
    shared = {**_usual(work.library), **given(request)}
    seeds = [_first_seed(request, row) for row in request.prompts]
    for point in points(request):
        for index, row in enumerate(request.prompts):
            origin = Origin(request, index, point)
            settings = {**shared, **given(row), "prompt": row.prompt, "seed": seeds[index]}
            try:
                settings = styled(placed(settings, request.axes, point), work.library)
                yield from _unfolded(work, origin, weighted(settings, request.axes, point))
            except Misfit as misfit:
                problems[FieldProblem(origin.field(misfit.field), misfit.message)] = None
            except OverBudget:
                raise
            except InvalidRequest as error:
                problems.update({FieldProblem(origin.field(p.field), p.message): None for p in error.problems})
            # Each may take long to word; the sender of thousands that are wrong alike has seen enough.
            if len(problems) >= _MOST_PROBLEMS:
                problems[FieldProblem("prompts", f"there may be more mistakes than these {len(problems)}")] = None
                return


def _usual(library: Library) -> dict[str, object]:
    """The checkpoint, where only one can be meant."""
    return {"checkpoint": next(iter(library.checkpoints))} if len(library.checkpoints) == 1 else {}


def _first_seed(request: JobRequest, row: PromptRow) -> int:
    """One for a prompt at all points of the sweep: what is compared differs in the axes alone."""
    given = row.seed if row.seed is not None else request.seed
    return secrets.randbelow(SEEDS) if given in (None, -1) else given


def _unfolded(work: _Work, origin: Origin, settings: Settings) -> Iterator[Unfolded]:
    """The images of one prompt at one point."""
    request, library, repeat = work.request, work.library, 0
    row = request.prompts[origin.row]
    count = row.images_per_prompt or request.images_per_prompt or 1
    for texts, seeds in drawn(
        request.dynamic_prompts, settings, work.lookup, count, work.limits.images, work.budget
    ):
        wanted = {**settings, **texts, "seed": seeds[0] % SEEDS, **_fixed(request)}
        _pay(work.budget, wanted, len(seeds))
        settled = settle(request.mode, wanted, library)
        for problem in (*settled.problems, *_too_large(settled, settings, work.limits.side)):
            path = origin.field(problem.field, is_combination=settled.is_combination)
            work.problems[FieldProblem(path, problem.message)] = None
        if settled.spec is None:
            return
        checkpoint = library.checkpoints[settled.spec.checkpoint]
        cell = cell_of(request, origin.row, origin.point, repeat) if request.axes else None
        key = batch_key(settled.spec, checkpoint.sha256, checkpoint.family.name)
        yield Unfolded(settled.spec, checkpoint, key, seeds, origin.row, cell)
        repeat += len(seeds)


def _pay(budget: Budget, settings: Settings, images: int) -> None:
    """Pay for the texts of a spec, before they are read for it and stored with each image. Raises OverBudget."""
    prompt, negative = settings["prompt"], settings.get("negative_prompt", "")
    length = len(prompt) + len(negative)
    budget.characters.spend(length)
    budget.stored.spend(images * length)
    budget.tags.spend(prompt.count("<") + negative.count("<"))


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
