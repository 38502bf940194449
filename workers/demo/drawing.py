"""Scenes as pictures, drawn with Pillow: smooth edges, and a little light from above."""

from collections.abc import Iterable, Sequence
from math import ceil, floor, pi, sin, sqrt
from random import Random

from PIL import Image, ImageDraw

from workers.demo.scenes import Background, Hour, Land, Landscape, Prop, Scene, Shapes
from workers.demo.world import COLOURS, RGB, SHAPES, Outline, Point

Size = tuple[int, int]
"""(width, height)"""

_FINER = 4
"""An outline is filled at so many times the picture's resolution, and reduced."""

_LIT, _SHADED = 0.10, 0.07
"""How far the upper edge of a surface is towards white, and its lower edge towards black."""


def draw(scene: Scene, size: Size) -> Image.Image:
    """The scene as an RGB picture."""
    return _draw_shapes(scene, size) if isinstance(scene, Shapes) else _draw_landscape(scene, size)


def _draw_shapes(scene: Shapes, size: Size) -> Image.Image:
    picture = _draw_background(scene.background, size)
    for thing in reversed(scene.things):
        outlines = _set_down(SHAPES[thing.shape], thing.centre, thing.radius, size)
        _fill(picture, outlines, *_light(COLOURS[thing.colour]))
    return picture


def _draw_background(background: Background, size: Size) -> Image.Image:
    first, last = (COLOURS[background.colours[end]] for end in (0, -1))
    if background.pattern == "gradient":
        return _gradient(size, first, last)
    picture = _gradient(size, *_light(first, 0.5))
    if background.pattern != "plain":
        _draw_stripes(picture, last, upright=background.pattern == "vertical stripes")
    return picture


def _draw_stripes(picture: Image.Image, colour: RGB, *, upright: bool) -> None:
    pencil, step = ImageDraw.Draw(picture), min(picture.size) // 8
    end = picture.width if upright else picture.height
    for start in range(step, end, 2 * step):
        last = start + step - 1
        box = (start, 0, last, picture.height) if upright else (0, start, picture.width, last)
        pencil.rectangle(box, fill=colour)


_SKIES: dict[Hour, tuple[RGB, RGB]] = {
    "day": ((92, 162, 238), (206, 232, 250)),
    "sunset": ((126, 72, 158), (252, 176, 98)),
    "night": ((14, 18, 52), (44, 52, 108)),
}
_LANDS: dict[Land, tuple[RGB, RGB]] = {
    "meadow": (COLOURS["green"], (36, 116, 60)),
    "sea": ((52, 118, 206), (22, 58, 132)),
    "desert": ((240, 206, 138), (216, 168, 92)),
    "snow": ((250, 251, 253), (214, 224, 238)),
}
_DARKER: dict[Hour, float] = {"day": 0.0, "sunset": 0.12, "night": 0.45}
"""How far the land is towards black."""

_TRUNK, _HULL = (112, 74, 46), (120, 66, 40)


def _draw_landscape(scene: Landscape, size: Size) -> Image.Image:
    picture = _gradient(size, *_SKIES[scene.hour])
    ahead = [prop for prop in scene.props if prop.kind in ("house", "tree", "boat")]
    for prop in scene.props:
        if prop not in ahead:
            _draw_prop(picture, prop)
    _draw_land(picture, scene)
    for prop in ahead:
        _draw_prop(picture, prop)
    return picture


def _draw_land(picture: Image.Image, scene: Landscape) -> None:
    """The sea is level; other land is a wide hill."""
    width, height = picture.size
    top = scene.horizon * height
    rise = 0.0 if scene.land == "sea" else 0.05 * height
    ridge = [(width * step / 32, top + rise * (1 - sin(pi * step / 32))) for step in range(33)]
    shades = (_mixed(shade, (0, 0, 20), _DARKER[scene.hour]) for shade in _LANDS[scene.land])
    _fill(picture, [(*ridge, (width, height), (0, height))], *shades)


def _draw_prop(picture: Image.Image, prop: Prop) -> None:
    size, main = picture.size, COLOURS[prop.colours[0]]
    if prop.kind == "stars":
        _draw_stars(picture, prop)
        return
    for part, colour in _parts(prop, main):
        _fill(picture, _set_down(part, prop.centre, prop.radius, size), *_light(colour))


def _parts(prop: Prop, main: RGB) -> Iterable[tuple[Sequence[Outline], RGB]]:
    """The parts of a prop from back to front, around its centre and 1 in radius."""
    circle = SHAPES["circle"][0]
    match prop.kind:
        case "sun":
            return [((circle,), main)]
        case "moon":
            return [((_crescent(circle),), main)]
        case "cloud":
            puffs = [_moved(circle, x, y, r) for x, y, r in ((-0.9, 0.2, 0.6), (0, -0.1, 0.85), (0.9, 0.2, 0.6))]
            return [((puff,), main) for puff in puffs]
        case "mountain":
            slope, snow = ((-1.3, 0.2), (0, -1), (1.3, 0.2)), ((-0.36, -0.667), (0, -1), (0.36, -0.667))
            return [((slope,), _mixed(main, (92, 104, 140), 0.5)), ((snow,), COLOURS[prop.colours[1]])]
        case "house":
            return _house(main, COLOURS[prop.colours[1]])
        case "tree":
            crown = (_moved(circle, 0, -0.75, 0.85),)
            return [((_box(-0.14, -0.2, 0.14, 0.9),), _TRUNK), (crown, _mixed(main, (18, 92, 48), 0.45))]
        case _:
            sail, mast = ((0.0, -1.1), (0.75, 0.18), (0.0, 0.18)), _box(-0.07, -1.1, 0.03, 0.4)
            jib = ((-0.12, -0.8), (-0.12, 0.18), (-0.62, 0.18))
            hull = ((-0.95, 0.3), (0.95, 0.3), (0.62, 0.72), (-0.62, 0.72))
            return [((mast,), _HULL), ((sail,), main), ((jib,), main), ((hull,), _HULL)]


def _house(wall: RGB, roof: RGB) -> list[tuple[Sequence[Outline], RGB]]:
    gable = ((-1.0, -0.1), (0.0, -0.95), (1.0, -0.1))
    return [
        ((_box(-0.8, -0.15, 0.8, 0.85),), wall),
        ((gable,), roof),
        ((_box(-0.18, 0.3, 0.18, 0.85),), _TRUNK),
        ((_box(-0.6, 0.08, -0.32, 0.36),), (255, 240, 180)),
        ((_box(0.32, 0.08, 0.6, 0.36),), (255, 240, 180)),
    ]


def _draw_stars(picture: Image.Image, prop: Prop) -> None:
    """Some two dozen of them, always the same for the same centre."""
    random = Random(str(prop.centre))
    for _ in range(24):
        point, radius = (random.random(), 0.55 * random.random()), random.uniform(0.006, 0.012)
        outline = _set_down((SHAPES["star"][0],), point, radius, picture.size)
        _fill(picture, outline, COLOURS["white"], COLOURS["white"])


def _box(left: float, top: float, right: float, bottom: float) -> Outline:
    return ((left, top), (right, top), (right, bottom), (left, bottom))


def _moved(outline: Outline, x: float, y: float, scale: float) -> Outline:
    return tuple((x + scale * own_x, y + scale * own_y) for own_x, own_y in outline)


def _crescent(circle: Outline) -> Outline:
    """A circle's left part, hollowed by a second circle through the same two horns."""
    outer = sorted((point for point in circle if point[0] < 0.3), key=lambda point: point[1])
    inner = [(0.75 - sqrt(1.03 - y**2), y) for _, y in reversed(outer)]
    return (*outer, *inner)


def _set_down(outlines: Iterable[Outline], centre: Point, radius: float, size: Size) -> list[Outline]:
    """Outlines in pixels of a picture."""
    scale = radius * min(size)
    return [_moved(outline, centre[0] * size[0], centre[1] * size[1], scale) for outline in outlines]


def _fill(picture: Image.Image, outlines: Sequence[Outline], top: RGB, bottom: RGB) -> None:
    """Fill the first outline, less the others, from one colour above to another below."""
    xs, ys = zip(*outlines[0], strict=True)
    left, upper = floor(min(xs)), floor(min(ys))
    size = max(1, ceil(max(xs)) - left), max(1, ceil(max(ys)) - upper)
    mask = Image.new("L", (size[0] * _FINER, size[1] * _FINER))
    pencil = ImageDraw.Draw(mask)
    for number, outline in enumerate(outlines):
        corners = [((x - left) * _FINER, (y - upper) * _FINER) for x, y in outline]
        pencil.polygon(corners, fill=0 if number else 255)
    picture.paste(_gradient(size, top, bottom), (left, upper), mask.resize(size, Image.Resampling.BOX))


def _gradient(size: Size, top: RGB, bottom: RGB) -> Image.Image:
    ramp = Image.linear_gradient("L").resize(size)
    return Image.composite(Image.new("RGB", size, bottom), Image.new("RGB", size, top), ramp)


def _light(colour: RGB, part: float = 1.0) -> tuple[RGB, RGB]:
    return _mixed(colour, (255, 255, 255), _LIT * part), _mixed(colour, (0, 0, 0), _SHADED * part)


def _mixed(colour: RGB, other: RGB, part: float) -> RGB:
    red, green, blue = (round(own + (its - own) * part) for own, its in zip(colour, other, strict=True))
    return red, green, blue
