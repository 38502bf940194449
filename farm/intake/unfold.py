"""Unfold a job request into the specs of its images."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from farm.errors import FieldProblem, InvalidRequest
from farm.intake.dynamicprompts import unfold_dynamic
from farm.intake.fieldpaths import Origin
from farm.intake.library import KnownCheckpoint, Library
from farm.intake.promptwarnings import RowTexts, warnings_of_rows
from farm.intake.request import JobRequest
from farm.intake.resolve import Resolution, resolve_spec
from farm.intake.sweeps.pointsettings import PromptSettings
from farm.intake.sweeps.sweep import Cell, Sweep
from farm.prompts.lengths import estimate_shape
from farm.prompts.template import count_signs
from farm.prompts.wildcards import WildcardLookup
from farm.spec.budget import Budget, OverBudget
from farm.spec.fields import SEEDS
from farm.spec.image import ImageSpec, batch_key
from farm.spec.sizes import Misfit, Settings

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


@dataclass(frozen=True)
class JobLimits:
    """What a farm allows a job: so many images, and so long a side in pixels."""

    images: int = 1_000_000
    side: int = 8192


@dataclass
class _Work:
    """What is unfolded: the request with what it may name, what is left of its budget, and what was found wrong."""

    request: JobRequest
    library: Library
    limits: JobLimits
    sweep: Sweep
    budget: Budget
    lookup: WildcardLookup
    problems: dict[FieldProblem, None] = field(default_factory=dict)


def count_images(request: JobRequest) -> int:
    """How many images a request unfolds into; with all combinations of dynamic prompts there are more."""
    return _count_at_a_point(request) * Sweep.of(request).count()


def _count_at_a_point(request: JobRequest) -> int:
    return sum(row.images_per_prompt or request.images_per_prompt or 1 for row in request.prompts)


def expand(request: JobRequest, library: Library, limits: JobLimits = JobLimits()) -> Unfolding:
    """Unfold every prompt at every point of the sweep, drawing the seeds that were left open.

    Raises InvalidRequest naming each setting that does not fit, once; of very many the first. OverBudget, which is
    one too, says that the request makes more work than one may.
    """
    sweep = Sweep.of(request)
    if (images := _count_at_a_point(request) * sweep.count()) > limits.images:
        raise InvalidRequest([_too_many(f"{images:,} images", limits.images)])
    budget = Budget(limits.images)
    lookup = WildcardLookup(library.wildcards, budget.lines.spend)
    work = _Work(request, library, limits, sweep, budget, lookup)
    _require(work)
    groups = _collect_groups(work)
    if work.problems:
        raise InvalidRequest(list(work.problems))
    return Unfolding(tuple(groups), _warnings(work, groups))


def _require(work: _Work) -> None:
    """Refuse what all rows together take at least, before the first of them is unfolded. Raises OverBudget."""
    texts = [text for row in work.request.prompts for text in (row.prompt, row.negative_prompt or "")]
    if work.request.dynamic_prompts != "off":
        work.budget.reading.require(sum(map(count_signs, texts)))
    work.budget.tags.require(sum(text.count("<") for text in texts))


def _too_many(images: str, limit: int) -> FieldProblem:
    return FieldProblem("prompts", f"the job would unfold into {images}; the limit is {limit:,}. Split it")


def _collect_groups(work: _Work) -> list[Unfolded]:
    """All groups, as far as the job may have so many kinds and images. Raises InvalidRequest; OverBudget."""
    groups: list[Unfolded] = []
    kinds: set[str] = set()
    images = 0
    for group in _groups(work):
        if group.batch_key not in kinds:
            work.budget.kinds.spend(1)
            kinds.add(group.batch_key)
        groups.append(group)
        images += len(group.seeds)
        if images > work.limits.images:
            raise InvalidRequest([_too_many(f"{images:,} images or more", work.limits.images)])
    return groups


def _warnings(work: _Work, groups: list[Unfolded]) -> tuple[str, ...]:
    texts = (
        RowTexts(group.row, group.template.prompt, group.template.negative_prompt, group.checkpoint.family.base)
        for group in groups
    )
    return warnings_of_rows(texts, len(work.request.prompts), work.budget, work.library.doubt_names)


def _groups(work: _Work) -> Iterator[Unfolded]:
    """The groups point by point, so that a costly axis changes slowest, and at each point prompt by prompt."""
    problems, settings = work.problems, PromptSettings(work.request, work.library)
    for point in work.sweep.points():
        for row in range(len(work.request.prompts)):
            origin = Origin(work.request, row, point)
            try:
                yield from _unfold_prompt(work, origin, settings.at(row, point))
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


def _unfold_prompt(work: _Work, origin: Origin, settings: Settings) -> Iterator[Unfolded]:
    """The images of one prompt at one point."""
    request, library, repeat = work.request, work.library, 0
    row = request.prompts[origin.row]
    count = row.images_per_prompt or request.images_per_prompt or 1
    for texts, seeds in unfold_dynamic(
        settings,
        count,
        how=request.dynamic_prompts,
        lookup=work.lookup,
        limit=work.limits.images,
        budget=work.budget,
    ):
        wanted = {**settings, **texts, "seed": seeds[0] % SEEDS, **_fixed(request)}
        _pay(work.budget, wanted, len(seeds))
        resolution = resolve_spec(request.mode, wanted, library)
        for problem in (*resolution.problems, *_too_large(resolution, settings, work.limits.side)):
            path = origin.field(problem.field, is_combination=resolution.is_combination)
            work.problems[FieldProblem(path, problem.message)] = None
        if resolution.spec is None:
            return
        checkpoint = library.checkpoints[resolution.spec.checkpoint]
        cell = work.sweep.cell(origin.row, origin.point, repeat)
        key = _batch_key(resolution.spec, checkpoint)
        yield Unfolded(resolution.spec, checkpoint, key, seeds, origin.row, cell)
        repeat += len(seeds)


def _batch_key(spec: ImageSpec, checkpoint: KnownCheckpoint) -> str:
    shape = estimate_shape(spec.prompt, spec.negative_prompt)
    return batch_key(spec, checkpoint.sha256, checkpoint.family.name, shape)


def _pay(budget: Budget, settings: Settings, images: int) -> None:
    """Pay for the texts of a spec, before they are read for it and stored with each image. Raises OverBudget."""
    prompt, negative = settings["prompt"], settings.get("negative_prompt", "")
    length = len(prompt) + len(negative)
    budget.characters.spend(length)
    budget.stored.spend(images * length)
    budget.tags.spend(prompt.count("<") + negative.count("<"))


def _too_large(resolution: Resolution, settings: Settings, limit: int) -> Iterator[FieldProblem]:
    """What would be rendered larger than this farm does: by its spec, or else by the sides that were asked for."""
    if resolution.spec is None:
        sizes = [(name, settings[name]) for name in ("width", "height") if name in settings]
    else:
        sizes = [
            (_decides(name, number, settings), side)
            for number, size in enumerate(resolution.spec.rendered_sizes)
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
