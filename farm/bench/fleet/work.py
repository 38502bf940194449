"""The work of a simulated fleet: a seeded mix of jobs of many owners, by checkpoints of unequal popularity."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

from farm.bench.fleet.options import FleetOptions

_SIDES = ((512, 512), (512, 768), (768, 768))
_SIDES_WEIGHTS = (70, 20, 10)
_PIXELS = 512 * 512
_FAVOURITES = 4
_URGENT_PRIORITY, _USUAL_PRIORITY = 60, 50


@dataclass(frozen=True)
class _Kind:
    """A kind of job: how often it comes, its class, and its sizes: the median, and the most."""

    weight: int
    work_class: str
    median_images: int
    most_images: int


_KINDS = (
    _Kind(30, "interactive", 2, 4),
    _Kind(10, "deadline", 16, 64),
    _Kind(60, "bulk", 40, 400),
)


@dataclass(frozen=True)
class PlannedJob:
    """A job to be submitted: equal images but for their seeds. Owners and checkpoints are numbered from 0."""

    owner: int
    checkpoint: int
    width: int
    height: int
    images: int
    work_class: str
    priority: int
    steps: int = 20

    @property
    def cost(self) -> float:
        """Its device time, in images of 512 x 512 pixels."""
        return self.images * image_cost(self.width, self.height)


def image_cost(width: int, height: int) -> float:
    """The device time of one image, in those of 512 x 512 pixels."""
    return width * height / _PIXELS


def draw_jobs(options: FleetOptions) -> Sequence[PlannedJob]:
    """Jobs with so many images in all, the same for the same seed.

    Popularity follows Zipf's law: the n-th checkpoint is wanted 1/n as much as the first. Each owner has a few
    favourites, drawn by popularity, and owners want unequally much, by the root of that law.
    """
    chance = random.Random(options.seed)
    favourites = [_draw_favourites(chance, options.checkpoints) for _ in range(options.owners)]
    appetite = list(accumulate((number + 1) ** -0.5 for number in range(options.owners)))
    jobs, left = [], options.tasks
    while left:
        owner = chance.choices(range(options.owners), cum_weights=appetite)[0]
        job = _draw_job(chance, owner, chance.choice(favourites[owner]), left)
        jobs.append(job)
        left -= job.images
    return jobs


def spread_arrivals(jobs: Sequence[PlannedJob], *, images_per_second: float) -> Iterator[tuple[float, PlannedJob]]:
    """When each job comes, in seconds from the first, so that so much comes a second; 0: all at once."""
    cost = 0.0
    for job in jobs:
        yield (cost / images_per_second if images_per_second else 0.0), job
        cost += job.cost


def _draw_favourites(chance: random.Random, checkpoints: int) -> Sequence[int]:
    popularity = list(accumulate(1 / (number + 1) for number in range(checkpoints)))
    return chance.choices(range(checkpoints), cum_weights=popularity, k=_FAVOURITES)


def _draw_job(chance: random.Random, owner: int, checkpoint: int, left: int) -> PlannedJob:
    kind = chance.choices(_KINDS, [kind.weight for kind in _KINDS])[0]
    images = round(kind.median_images * chance.lognormvariate(0, 1))
    width, height = chance.choices(_SIDES, _SIDES_WEIGHTS)[0]
    priority = _URGENT_PRIORITY if chance.random() < 0.05 else _USUAL_PRIORITY
    return PlannedJob(
        owner, checkpoint, width, height, max(1, min(images, kind.most_images, left)), kind.work_class, priority
    )
