"""Judges a demo checkpoint on prompts that training left out: `python -m workers.demo.evaluation [FOLDER]`."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

import click
import torch
from PIL import Image

from farm.queue.claim import ClaimedCheckpoint
from farm.spec.image import ImageSpec
from farm.spec.modes import read_spec
from farm.weights.presets import preset
from workers.canvas.inputs import NoInputs
from workers.demo.captions import PLACES, with_article
from workers.demo.judging import View, look
from workers.demo.world import COLOURS, SHAPES, is_held_out, is_unseen
from workers.diffusion import DiffusionRenderer
from workers.model.pipelines import Pipelines
from workers.model.provenance import Machine
from workers.parent.devices import cpu_name

_AT_ONCE = 8
_SETTINGS = {
    "mode": "txt2img",
    "checkpoint": "demo",
    "sampler": "DPM++ 2M",
    "num_inference_steps": 20,
    "guidance_scale": 5.0,
    "width": 128,
    "height": 128,
}


@dataclass(frozen=True)
class Case:
    """A prompt, and what must be seen: a background, and one (colour, shape), or two from left to right.

    `place` is where the one stands, empty for the middle.
    """

    kind: str
    prompt: str
    background: str
    things: tuple[tuple[str, str], ...]
    place: str = ""


@dataclass(frozen=True)
class Score:
    """What was asked for, and whether it was seen. Of two things both must be right; of their places, the order."""

    case: Case
    background: bool
    colour: bool
    shape: bool
    place: bool


def cases() -> list[Case]:
    """Some 180, always the same."""
    random = Random(20)
    pairs = [(colour, shape) for colour in COLOURS for shape in SHAPES]
    seen = [pair for pair in pairs if not is_unseen(*pair) and _held_out(*pair)]
    unseen = [pair for pair in pairs if is_unseen(*pair)]
    return [
        *(_on_a_background(random, "left out", *pair) for pair in seen),
        *(_on_a_background(random, "never together", *pair) for pair in unseen for _ in range(4)),
        *(_somewhere(random, *pair) for pair in random.sample(seen, 32)),
        *(_two(random, random.sample(seen, 2)) for _ in range(24)),
    ]


def _on_a_background(random: Random, kind: str, colour: str, shape: str) -> Case:
    background = _background(random, colour, shape)
    prompt = f"{with_article(colour)} {shape} on {with_article(background)} background"
    return Case(kind, prompt, background, ((colour, shape),))


def _background(random: Random, colour: str, shape: str) -> str:
    """One that training leaves out with this thing."""
    return random.choice(_held_out(colour, shape))


def _held_out(colour: str, shape: str) -> list[str]:
    return [ground for ground in COLOURS if ground != colour and is_held_out(colour, shape, ground)]


_PLACES = ("left", "right", "top", "bottom", "top left", "bottom right")


def _somewhere(random: Random, colour: str, shape: str) -> Case:
    background, place = _background(random, colour, shape), random.choice(_PLACES)
    prompt = f"a small {colour} {shape} {PLACES[place]} on {with_article(background)} background"
    return Case("somewhere", prompt, background, ((colour, shape),), place)


def _two(random: Random, pairs: Sequence[tuple[str, str]]) -> Case:
    taken = {colour for colour, _ in pairs}
    background = random.choice([colour for colour in COLOURS if colour not in taken])
    first, second = (f"{with_article(colour)} {shape}" for colour, shape in pairs)
    prompt = f"{first} to the left of {second} on {with_article(background)} background"
    return Case("two things", prompt, background, tuple(pairs))


def score(case: Case, view: View) -> Score:
    """How a picture of the case is seen."""
    things = sorted(view.things[: len(case.things)], key=lambda thing: thing.centre[0])
    colours, shapes = [thing.colour for thing in things], [thing.shape for thing in things]
    wanted = [colour for colour, _ in case.things]
    return Score(
        case,
        background=view.background == case.background,
        colour=sorted(colours) == sorted(wanted),
        shape=sorted(shapes) == sorted(shape for _, shape in case.things),
        place=colours == wanted if len(wanted) > 1 else bool(things) and _place(things[0].centre) == case.place,
    )


def _place(centre: tuple[float, float]) -> str:
    """In words, by thirds of the picture; empty for the middle."""
    x, y = centre
    column = "left" if x < 0.38 else "right" if x > 0.62 else ""
    row = "top" if y < 0.38 else "bottom" if y > 0.62 else ""
    return f"{row} {column}".strip()


def render(folder: Path, wanted: Sequence[Case]) -> Iterator[Image.Image]:
    """A picture for each case, by the path that every checkpoint takes; the seed is the case's number."""
    pipelines = Pipelines("cpu", "auto")
    renderer = DiffusionRenderer(
        pipelines, Machine("cpu", pipelines.precision, torch.get_num_threads()), NoInputs()
    )
    checkpoint = ClaimedCheckpoint(1, "demo", "sd15", "0" * 64, str(folder))
    specs = [_spec(case, seed) for seed, case in enumerate(wanted, start=1)]
    for begin in range(0, len(specs), _AT_ONCE):
        pictures = renderer.render(checkpoint, specs[begin : begin + _AT_ONCE], lambda _done, _steps: None)
        yield from (Image.fromarray(picture.pixels) for picture in pictures)


def _spec(case: Case, seed: int) -> ImageSpec:
    return read_spec({**_SETTINGS, "prompt": case.prompt, "seed": seed})


def report(scores: Sequence[Score]) -> str:
    """A table: what part of each kind of case was right."""
    lines = [f"{'':16}{'cases':>8}{'colour':>10}{'shape':>10}{'ground':>10}{'place':>10}"]
    for kind in dict.fromkeys(score.case.kind for score in scores):
        own = [score for score in scores if score.case.kind == kind]
        parts = ([getattr(score, what) for score in own] for what in ("colour", "shape", "background", "place"))
        lines.append(f"{kind:16}{len(own):8}" + "".join(f"{sum(part) / len(own):10.1%}" for part in parts))
    return "\n".join(lines)


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path), required=False)
@click.option("--save", type=click.Path(file_okay=False, path_type=Path), help="Save the pictures here.")
def main(folder: Path | None, save: Path | None) -> None:
    """Render prompts that training left out, and say how many answer them. FOLDER is a diffusers folder."""
    wanted, begun = cases(), time.monotonic()
    scores = []
    for number, picture in enumerate(render(folder or Path(preset("demo").source), wanted), start=1):
        scores.append(score(wanted[number - 1], look(picture)))
        if save:
            save.mkdir(parents=True, exist_ok=True)
            picture.save(save / f"{number:03}.png")
    click.echo(report(scores))
    for wrong in (score for score in scores if not (score.background and score.colour and score.shape)):
        click.echo(f"  {wrong.case.prompt}: {_faults(wrong)}")
    seconds = (time.monotonic() - begun) / len(wanted)
    click.echo(f"{seconds:.2f} s an image, {_SETTINGS['num_inference_steps']} steps, on {cpu_name()}")


def _faults(wrong: Score) -> str:
    return ", ".join(what for what in ("background", "colour", "shape") if not getattr(wrong, what))


if __name__ == "__main__":
    main()
