"""The farm against the plain one: the same images, one after the other on this machine, and what came of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tests.bench.bucket import run_bucket
from tests.bench.mix import Mix
from tests.bench.runs import Run, render_on_farm, render_on_plain_farm
from tests.chaos.report import table


@dataclass(frozen=True)
class Outcome:
    """Both runs of a mix."""

    mix: Mix
    farm: Run
    plain: Run

    @property
    def ratio(self) -> float:
        """How many times as fast the farm was."""
        return self.plain.seconds / self.farm.seconds

    @property
    def differences(self) -> list[int]:
        """How far each image of one is from that of the other: its worst channel of its worst pixel, of 255."""
        pairs = zip(self.farm.images, self.plain.images, strict=True)
        return [int(np.abs(ours.pixels.astype(int) - theirs.pixels).max()) for ours, theirs in pairs]

    @property
    def differences_alone(self) -> list[int]:
        """The same of the images that the farm rendered alone, as the plain one renders all."""
        pairs = zip(self.differences, self.farm.images, strict=True)
        return [difference for difference, ours in pairs if ours.bucket == 1]


def carry_out(mix: Mix, weights: Path, folder: Path, *, workers: int = 2) -> Outcome:
    """Render a mix of the checkpoints in `weights` on both; `folder` is a new one that Postgres' user may pass.

    The plain farm is sent the specs that the farm made of the requests.
    """
    folder.mkdir()
    folder.chmod(0o711)
    with run_bucket() as endpoint:
        farm = render_on_farm(mix, weights, folder / "farm", endpoint, workers=workers)
        specs = [image.spec for image in farm.images]
        plain = render_on_plain_farm(mix, specs, weights, folder / "plain", endpoint, workers=workers)
    return Outcome(mix, farm, plain)


def describe(outcome: Outcome) -> str:
    """The figures of a mix as a table, the ratio, and whether both rendered the same."""
    mix = outcome.mix
    several = f"{len(mix.owners)} owners, each with a checkpoint of their own"
    owners = several if len(mix.owners) > 1 else "one owner"
    head = ("", "seconds", "images/s", "loads", "seconds a load", "load of the machine")
    rows = [_row("plain Celery farm", mix, outcome.plain), _row("this farm", mix, outcome.farm)]
    title = f"{owners}: {mix.images} images of {len(mix.checkpoints)} checkpoints"
    return "\n".join([title, table(head, rows), f"{outcome.ratio:.1f} times as fast. {_describe_images(outcome)}"])


def _row(name: str, mix: Mix, run: Run) -> Sequence[str]:
    load = f"{sum(run.loads) / len(run.loads):.2f}" if run.loads else ""
    figures = f"{run.seconds:.1f}", f"{mix.images / run.seconds:.2f}", str(len(run.loads)), load
    return name, *figures, f"{run.machine_load:.1f}"


def _describe_images(outcome: Outcome) -> str:
    alone, differences = outcome.differences_alone, outcome.differences
    return (
        f"Rendered alone by both: {len(alone)} images, of which {alone.count(0)} are equal in every pixel.\n"
        f"The other {len(differences) - len(alone)} the farm rendered in batches, which changes rounding: "
        f"the worst of their pixels differs by {max(differences)} of 255."
    )
