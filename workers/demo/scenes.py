"""Scenes of the little world, invented at random: what stands where, before which background."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Literal

from workers.demo.world import COLOURS, SHAPES, Point, is_held_out, is_unseen

Pattern = Literal["plain", "gradient", "vertical stripes", "horizontal stripes"]
Relation = Literal["left of", "above", "inside"]
Hour = Literal["day", "sunset", "night"]
Land = Literal["meadow", "sea", "desert", "snow"]


@dataclass(frozen=True)
class Background:
    """One colour, or two: the upper and the lower of a gradient, the first and the second of stripes."""

    colours: tuple[str, ...]
    pattern: Pattern = "plain"


@dataclass(frozen=True)
class Thing:
    """A coloured shape; its centre and radius are parts of the picture's sides and of its shorter side.

    `size` and `place` are words for them, empty where nothing is to be said.
    """

    colour: str
    shape: str
    centre: Point
    radius: float
    size: str = ""
    place: str = ""


@dataclass(frozen=True)
class Shapes:
    """One thing, two in a relation (the first is left of, above or inside the second), or none."""

    background: Background
    things: tuple[Thing, ...]
    relation: Relation | None = None


@dataclass(frozen=True)
class Prop:
    """Something in a landscape: its kind, its colours, and its place as in `Thing`."""

    kind: Literal["sun", "moon", "cloud", "house", "tree", "boat", "mountain", "stars"]
    colours: tuple[str, ...]
    centre: Point
    radius: float


@dataclass(frozen=True)
class Landscape:
    """Land below the horizon, which is a part of the height from above, and props from back to front."""

    hour: Hour
    land: Land
    horizon: float
    props: tuple[Prop, ...]


Scene = Shapes | Landscape

_COLUMNS = {"left": 0.25, "": 0.5, "right": 0.75}
_ROWS = {"top": 0.25, "": 0.5, "bottom": 0.75}
_RADII = {"small": (0.13, 0.16), "": (0.22, 0.29), "large": (0.36, 0.41)}


def invent(random: Random) -> Scene:
    """A scene that training may show."""
    kinds: Sequence[Callable[[Random], Scene]] = (_one, _two, _landscape, _empty)
    return random.choices(kinds, (48, 25, 25, 2))[0](random)


def _empty(random: Random) -> Shapes:
    return Shapes(_background(random), ())


def _one(random: Random) -> Shapes:
    while True:
        background = _background(random)
        colour, shape = random.choice(list(COLOURS)), random.choice(list(SHAPES))
        if _is_shown(colour, shape, background):
            return Shapes(background, (_placed(random, colour, shape),))


def _two(random: Random) -> Shapes:
    while True:
        background = Background((random.choice(list(COLOURS)),))
        colours = random.sample(list(COLOURS), 2)
        shapes = random.choices(list(SHAPES), k=2)
        if all(_is_shown(colour, shape, background) for colour, shape in zip(colours, shapes, strict=True)):
            return _related(random, background, colours, shapes)


def _is_shown(colour: str, shape: str, background: Background) -> bool:
    if colour in background.colours or is_unseen(colour, shape):
        return False
    return background.pattern != "plain" or not is_held_out(colour, shape, background.colours[0])


def _background(random: Random) -> Background:
    patterns: Sequence[Pattern] = ("plain", "gradient", "vertical stripes", "horizontal stripes")
    pattern = random.choices(patterns, (76, 10, 7, 7))[0]
    count = 1 if pattern == "plain" else 2
    return Background(tuple(random.sample(list(COLOURS), count)), pattern)


def _placed(random: Random, colour: str, shape: str) -> Thing:
    size = random.choices(list(_RADII), (25, 50, 25))[0]
    centred = size == "large" or random.random() < 0.4
    column = "" if centred else random.choice(list(_COLUMNS))
    row = "" if centred else random.choice(list(_ROWS))
    centre = _near(random, (_COLUMNS[column], _ROWS[row]))
    radius = min(random.uniform(*_RADII[size]), 0.5 if centred else 0.2)
    return Thing(colour, shape, centre, radius, size, f"{row} {column}".strip())


def _near(random: Random, point: Point, by: float = 0.035) -> Point:
    return point[0] + random.uniform(-by, by), point[1] + random.uniform(-by, by)


_PAIRS: dict[Relation, tuple[tuple[Point, tuple[float, float]], tuple[Point, tuple[float, float]]]] = {
    "left of": (((0.27, 0.5), (0.15, 0.2)), ((0.73, 0.5), (0.15, 0.2))),
    "above": (((0.5, 0.27), (0.15, 0.2)), ((0.5, 0.73), (0.15, 0.2))),
    "inside": (((0.5, 0.5), (0.13, 0.16)), ((0.5, 0.5), (0.36, 0.42))),
}
_HOLLOW = ("circle", "square", "heart", "diamond")
"""Shapes with room for another inside."""


def _related(random: Random, background: Background, colours: Sequence[str], shapes: Sequence[str]) -> Shapes:
    relations: Sequence[Relation] = ("left of", "above", "inside")
    relation = random.choices(relations, (40, 30, 30 if shapes[1] in _HOLLOW else 0))[0]
    by = 0.0 if relation == "inside" else 0.04
    things = [
        Thing(colour, shape, _near(random, centre, by), random.uniform(*radii))
        for colour, shape, (centre, radii) in zip(colours, shapes, _PAIRS[relation], strict=True)
    ]
    return Shapes(background, tuple(things), relation)


def _landscape(random: Random) -> Landscape:
    hours: Sequence[Hour] = ("day", "sunset", "night")
    lands: Sequence[Land] = ("meadow", "sea", "desert", "snow")
    hour, land = random.choices(hours, (50, 30, 20))[0], random.choices(lands, (40, 30, 12, 18))[0]
    horizon = random.uniform(0.56, 0.68)
    props = (*_sky_props(random, hour), *_mountains(random, horizon), *_land_props(random, land, horizon))
    return Landscape(hour, land, horizon, props)


def _sky_props(random: Random, hour: Hour) -> list[Prop]:
    centre = random.uniform(0.15, 0.85), random.uniform(0.14, 0.26)
    if hour == "night":
        stars = (
            [Prop("stars", ("white",), (random.random(), random.random()), 1.0)] if random.random() < 0.6 else []
        )
        moon = [Prop("moon", ("yellow",), centre, random.uniform(0.08, 0.11))] if random.random() < 0.6 else []
        return [*stars, *moon]
    props = []
    if random.random() < 0.6:
        sunk = (centre[0], random.uniform(0.3, 0.5)) if hour == "sunset" else centre
        props.append(Prop("sun", ("orange" if hour == "sunset" else "yellow",), sunk, random.uniform(0.08, 0.12)))
    if hour == "day" and random.random() < 0.4:
        props += [
            Prop(
                "cloud",
                ("white",),
                (random.uniform(0.1, 0.9), random.uniform(0.1, 0.34)),
                random.uniform(0.07, 0.1),
            )
            for _ in range(random.choice((1, 2)))
        ]
    return props


def _mountains(random: Random, horizon: float) -> list[Prop]:
    if random.random() < 0.75:
        return []
    return [
        Prop(
            "mountain",
            ("gray", "white"),
            (middle + random.uniform(-0.08, 0.08), horizon),
            random.uniform(0.26, 0.38),
        )
        for middle in random.sample((0.2, 0.5, 0.8), random.choice((1, 2, 3)))
    ]


_WALLS = ("white", "red", "yellow", "blue", "pink", "orange")
_ROOFS = ("red", "blue", "black", "purple", "teal", "orange")
_SAILS = ("white", "red", "yellow", "orange", "pink", "purple")


def _land_props(random: Random, land: Land, horizon: float) -> list[Prop]:
    if land == "sea":
        if random.random() < 0.25:
            return []
        place = random.uniform(0.25, 0.75), horizon + random.uniform(0.08, 0.16)
        return [Prop("boat", (random.choice(_SAILS),), place, random.uniform(0.15, 0.22))]
    props = []
    spots = random.sample((0.22, 0.5, 0.78), 3)
    if random.random() < 0.5:
        roof = random.choice(_ROOFS)
        wall = random.choice([colour for colour in _WALLS if colour != roof])
        spot = spots.pop(), horizon + random.uniform(0.1, 0.16)
        props.append(Prop("house", (wall, roof), spot, random.uniform(0.15, 0.2)))
    if land != "desert" and random.random() < 0.55:
        props += [
            Prop("tree", ("green",), (spot, horizon + random.uniform(0.06, 0.16)), random.uniform(0.11, 0.15))
            for spot in spots[: random.choice((1, 1, 2))]
        ]
    return props
