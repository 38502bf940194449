"""How a picture is continued over its sides to a larger canvas: pass by pass, what each sees and what it adds."""

from dataclasses import dataclass

from farm.spec.sizes import VAE_SCALE_FACTOR, Size
from workers.canvas.masks import Box


@dataclass(frozen=True)
class Expansion:
    """One pass: what is `known` of the canvas before it and after (`grown`), and the `window` that is rendered."""

    known: Box
    grown: Box
    window: Box

    @property
    def window_size(self) -> Size:
        return self.window[2] - self.window[0], self.window[3] - self.window[1]


def plan_expansions(canvas: Size, known: Box, side: int) -> list[Expansion]:
    """The passes that fill a canvas around what is known of it; none where all is known.

    Each adds at most half of `side` pixels, the side that a checkpoint was trained at, to every edge of
    what is known that is not the canvas's. The canvas's sides are multiples of 8, and so are the windows'.
    """
    expansions = []
    while known != (0, 0, *canvas):
        grown = _grow(canvas, known, side // 2)
        expansions.append(Expansion(known, grown, _choose_window(known, grown, side // 2)))
        known = grown
    return expansions


def _grow(canvas: Size, known: Box, step: int) -> Box:
    left, top = (_floor(max(0, edge - step)) for edge in known[:2])
    right, bottom = (_ceil(min(limit, edge + step)) for edge, limit in zip(known[2:], canvas, strict=True))
    return left, top, right, bottom


def _choose_window(known: Box, grown: Box, context: int) -> Box:
    """What is new, and of what is known no more than `context` pixels behind it where only one edge moves."""
    left, top, right, bottom = grown
    moved = [before != after for before, after in zip(known, grown, strict=True)]
    match moved:
        case [True, False, False, False]:
            right = min(right, _ceil(known[0] + context))
        case [False, False, True, False]:
            left = max(left, _floor(known[2] - context))
        case [False, True, False, False]:
            bottom = min(bottom, _ceil(known[1] + context))
        case [False, False, False, True]:
            top = max(top, _floor(known[3] - context))
    return left, top, right, bottom


def _floor(edge: int) -> int:
    return edge // VAE_SCALE_FACTOR * VAE_SCALE_FACTOR


def _ceil(edge: int) -> int:
    return -(-edge // VAE_SCALE_FACTOR) * VAE_SCALE_FACTOR
