"""Unfold a job request into the specs of its images."""

import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from farm.errors import FieldProblem, InvalidRequest
from farm.fields import SEEDS
from farm.geometry import Misfit, Settings
from farm.library import KnownCheckpoint, Library
from farm.prompts.dynamic import is_dynamic, unfold_all, unfold_random
from farm.prompts.plan import warnings_of, warnings_of_negative
from farm.requests import ImageSettings, JobRequest, PromptRow
from farm.settle import Settled, settle, styled
from farm.specs import ImageSpec, batch_key
from farm.sweeps import Cell, Point, cell_of, count_points, placed, points

_MOST_PROBLEMS = 1_000
_MOST_WARNINGS = 20
_SETTINGS = tuple(name for name in ImageSettings.model_fields if name not in ("seed", "images_per_prompt"))


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


@dataclass(frozen=True)
class _Origin:
    """Where settings come from, so that a problem names the field to change."""

    request: JobRequest
    row: int
    point: Point

    def field(self, name: str, *, is_combination: bool = False) -> str:
        """The path of a setting: on an axis, in the row, or of the job.

        What is wrong only in combination is named in the row, if that has any setting of its own.
        """
        head = name.partition(".")[0]
        for number, axis in enumerate(self.request.axes):
            if head in _SWEPT.get(axis.field, (axis.field, axis.field.partition(":")[0])):
                return f"axes[{number}].values[{self.point[number]}]"
        row = self.request.prompts[self.row]
        is_own = head == "prompt" or getattr(row, head, None) is not None
        return f"prompts[{self.row}].{name}" if is_own or (is_combination and _given(row)) else name


# What an axis sets whose name is not that of a setting.
_SWEPT = {"size": ("size", "width", "height"), "hires.strength": ("hires.strength",)}


def count_images(request: JobRequest) -> int:
    """How many images a request unfolds into; with all combinations of dynamic prompts there are more."""
    images = sum(row.images_per_prompt or request.images_per_prompt or 1 for row in request.prompts)
    return images * count_points(request)


def expand(request: JobRequest, library: Library, limits: Limits = Limits()) -> Unfolding:
    """Unfold every prompt at every point of the sweep, drawing the seeds that were left open.

    Raises InvalidRequest naming each setting that does not fit, once.
    """
    problems: dict[FieldProblem, None] = {}
    groups: list[Unfolded] = []
    images = 0
    for group in _groups(request, library, limits, problems):
        groups.append(group)
        images += len(group.seeds)
        if images > limits.images:
            raise InvalidRequest([_too_many(images, limits.images)])
        if len(problems) >= _MOST_PROBLEMS:
            break
    if problems:
        raise InvalidRequest(list(problems))
    return Unfolding(tuple(groups), _warnings(groups))


def _too_many(images: int, limit: int) -> FieldProblem:
    return FieldProblem(
        "prompts", f"the job would unfold into {images:,} images or more; the limit is {limit:,}. Split it"
    )


def _groups(
    request: JobRequest, library: Library, limits: Limits, problems: dict[FieldProblem, None]
) -> Iterator[Unfolded]:
    """The groups point by point, so that a costly axis changes slowest, and at each point prompt by prompt."""
    shared = {**_usual(library), **_given(request)}
    seeds = [_first_seed(request, row) for row in request.prompts]
    for point in points(request):
        for index, row in enumerate(request.prompts):
            origin = _Origin(request, index, point)
            settings = {**shared, **_given(row), "prompt": row.prompt, "seed": seeds[index]}
            try:
                settings = styled(placed(settings, request.axes, point), library)
                yield from _unfolded(origin, settings, library, limits, problems)
            except Misfit as misfit:
                problems[FieldProblem(origin.field(misfit.field), misfit.message)] = None
            except InvalidRequest as error:
                problems.update({FieldProblem(origin.field(p.field), p.message): None for p in error.problems})


def _usual(library: Library) -> dict[str, object]:
    """The checkpoint, where only one can be meant."""
    return {"checkpoint": next(iter(library.checkpoints))} if len(library.checkpoints) == 1 else {}


def _given(settings: ImageSettings) -> dict[str, object]:
    """What was said, and nothing of what was left out."""
    found = {name: value for name in _SETTINGS if (value := getattr(settings, name)) is not None}
    if (hires := found.get("hires")) is not None:
        found["hires"] = hires.model_dump(exclude_none=True)
    return found


def _first_seed(request: JobRequest, row: PromptRow) -> int:
    """One for a prompt at all points of the sweep: what is compared differs in the axes alone."""
    given = row.seed if row.seed is not None else request.seed
    return secrets.randbelow(SEEDS) if given is None else given


def _unfolded(
    origin: _Origin, settings: Settings, library: Library, limits: Limits, problems: dict[FieldProblem, None]
) -> Iterator[Unfolded]:
    """The images of one prompt at one point."""
    request, repeat = origin.request, 0
    row = request.prompts[origin.row]
    count = row.images_per_prompt or request.images_per_prompt or 1
    for texts, seeds in _texts(request.dynamic_prompts, settings, library, count, limits.images):
        settled = settle(request.mode, {**settings, **texts, "seed": seeds[0] % SEEDS, **_fixed(request)}, library)
        for problem in (*settled.problems, *_too_large(settled, settings, limits.side)):
            field = origin.field(problem.field, is_combination=settled.is_combination)
            problems[FieldProblem(field, problem.message)] = None
        if settled.spec is None:
            return
        checkpoint = library.checkpoints[settled.spec.checkpoint]
        cell = cell_of(request, origin.row, origin.point, repeat) if request.axes else None
        yield Unfolded(settled.spec, checkpoint, batch_key(settled.spec, checkpoint.sha256), seeds, cell)
        repeat += len(seeds)


def _too_large(settled: Settled, settings: Settings, limit: int) -> Iterator[FieldProblem]:
    """The sides of the output, or those that were asked for, that this farm does not render."""
    if settled.spec is None:
        sides = {name: settings[name] for name in ("width", "height") if name in settings}
    else:
        mode, (width, height) = settled.spec.mode, settled.spec.output_size
        sides = {_DECIDES.get(mode, "width"): width, _DECIDES.get(mode, "height"): height}
    for name, side in sides.items():
        if side > limit:
            yield FieldProblem(name, f"must be at most {limit} on this farm, not {side}")


# What decides the size of the output where that is not width and height.
_DECIDES = {"upscale": "scale", "outpaint": "aspect"}


def _fixed(request: JobRequest) -> dict[str, bool]:
    return {"deterministic": True} if request.deterministic else {}


def _texts(
    how: str, settings: Settings, library: Library, count: int, limit: int
) -> Iterator[tuple[dict[str, str], range]]:
    """Each distinct pair of prompts that dynamic syntax unfolds into, and the seeds it is rendered with."""
    prompt, negative, first = settings["prompt"], settings.get("negative_prompt", ""), settings["seed"]
    if how == "off" or not (is_dynamic(prompt) or is_dynamic(negative)):
        yield {}, range(first, first + count)
    elif how == "all":
        for text in unfold_all(prompt, library.wildcards, limit):
            drawn = _drawn_negative(negative, library, first)
            yield {"prompt": text, "negative_prompt": drawn}, range(first, first + count)
    else:
        for seed in range(first, first + count):
            yield (
                {
                    "prompt": unfold_random(prompt, library.wildcards, seed),
                    "negative_prompt": _drawn_negative(negative, library, seed),
                },
                range(seed, seed + 1),
            )


def _drawn_negative(negative: str, library: Library, seed: int) -> str:
    try:
        return unfold_random(negative, library.wildcards, seed)
    except InvalidRequest as error:
        raise InvalidRequest([FieldProblem("negative_prompt", p.message) for p in error.problems]) from None


def _warnings(groups: list[Unfolded]) -> tuple[str, ...]:
    """What the prompt language has to say, each thing once."""
    found: dict[str, None] = {}
    prompts = dict.fromkeys(group.template.prompt for group in groups)
    negatives = dict.fromkeys(group.template.negative_prompt for group in groups)
    for warning in (*map(warnings_of, prompts), *map(warnings_of_negative, negatives)):
        found.update(dict.fromkeys(warning))
    return tuple(islice(found, _MOST_WARNINGS))
