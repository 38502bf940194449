"""Outpaint: the picture is kept, what lies beyond its edges is new, and a long way takes several passes."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm.errors import CannotRender
from tests.workers.studios import a_context, a_picture, a_spec_of, as_pixels, draw, upload
from workers.canvas.outpaint_plan import plan_expansions
from workers.modes import RENDERS

SIDES = ("left", "top", "right", "bottom")


def a_small_spec(sides: dict[str, int], size: tuple[int, int] = (72, 64), **fields: Any) -> Any:
    added = [sides.get(side, 0) for side in SIDES]
    width, height = size[0] + added[0] + added[2], size[1] + added[1] + added[3]
    settings = {"image": upload(a_picture(*size)), "width": width, "height": height, "num_inference_steps": 2}
    return a_spec_of("outpaint", **{**settings, **sides, **fields})


def kept(spec: Any, image: np.ndarray, feather: int) -> bool:
    """Whether the picture is there bit for bit, but for so many pixels inside the edges that were continued."""
    left, top, right, bottom = (feather if getattr(spec, side) else 0 for side in SIDES)
    old = as_pixels(a_picture(spec.width - spec.left - spec.right, spec.height - spec.top - spec.bottom))
    found = image[spec.top : spec.height - spec.bottom, spec.left : spec.width - spec.right]
    high, wide = old.shape[:2]
    inner = np.s_[top : high - bottom, left : wide - right]
    return np.array_equal(found[inner], old[inner])


@pytest.mark.parametrize("family", ["sd15", "sd15-inpaint", "sdxl", "sdxl-inpaint"])
@pytest.mark.parametrize(
    "sides", [{"left": 24}, {"right": 24}, {"top": 32}, {"bottom": 16}, dict.fromkeys(SIDES, 16)]
)
def test_the_picture_is_kept_whole_without_a_feather(family: str, sides: dict[str, int]) -> None:
    spec = a_small_spec(sides, mask_blur=0)
    image = draw(a_context(family), spec)[0]
    assert kept(spec, image, 0)
    new = np.ones(image.shape[:2], bool)
    new[spec.top : spec.height - spec.bottom, spec.left : spec.width - spec.right] = False
    assert image[new].std() > 5


@pytest.mark.parametrize("feather", [1, 8, 16])
def test_a_feather_stays_within_its_pixels_of_the_continued_edges(feather: int) -> None:
    spec = a_small_spec({"right": 24, "top": 16}, mask_blur=feather)
    image = draw(a_context(), spec)[0]
    assert kept(spec, image, feather)
    assert not kept(spec, image, feather - 1)


def test_sides_that_are_no_multiple_of_8_are_continued() -> None:
    spec = a_small_spec({"left": 13, "right": 6, "top": 3}, size=(69, 61), mask_blur=0)
    assert kept(spec, draw(a_context(), spec)[0], 0)


def test_a_long_way_takes_several_passes_that_are_counted_together() -> None:
    reported: list[tuple[int, int]] = []
    spec = a_small_spec({"right": 520}, mask_blur=0, strength=1)
    image = RENDERS["outpaint"](a_context(), [spec], lambda *done: reported.append(done))[0]
    assert reported == [(done, 6) for done in range(1, 7)]
    assert kept(spec, image, 0)
    assert min(image[:, place : place + 8].std() for place in range(72, 592, 8)) > 5


def test_a_picture_that_leaves_other_sides_is_refused() -> None:
    spec = a_small_spec({"right": 24}, image=upload(a_picture(64, 64)))
    with pytest.raises(CannotRender, match="leaves 72 x 64"):
        draw(a_context(), spec)


LENGTHS = st.just(0) | st.integers(0, 700)


@given(LENGTHS, LENGTHS, LENGTHS, LENGTHS, st.integers(1, 300), st.integers(1, 300))
def test_the_passes_end_at_the_canvas_and_see_all_that_they_add(
    left: int, top: int, right: int, bottom: int, wide: int, high: int
) -> None:
    canvas = tuple(-(-side // 8) * 8 for side in (left + wide + right, top + high + bottom))
    known = (left, top, left + wide, top + high)
    expansions = plan_expansions((canvas[0], canvas[1]), known, 512)
    assert (expansions[-1].grown if expansions else known) == (0, 0, *canvas)
    for expansion in expansions:
        window, grown = expansion.window, expansion.grown
        assert all(edge % 8 == 0 for edge in window)
        moved = [b for b, a in zip(zip(window, grown, strict=True), expansion.known, strict=True) if b[1] != a]
        assert all(seen == new for seen, new in moved)


@given(LENGTHS, st.integers(1, 300))
def test_no_pass_adds_more_than_half_of_the_side_but_for_rounding(right: int, wide: int) -> None:
    canvas = (-(-(wide + right) // 8) * 8, 64)
    steps = [e.grown[2] - e.known[2] for e in plan_expansions(canvas, (0, 0, wide, 64), 512)]
    assert all(0 < step < 256 + 8 for step in steps)


@pytest.mark.parametrize(
    ("known", "window"),
    [
        ((0, 0, 701, 64), (440, 0, 960, 64)),
        ((259, 0, 960, 64), (0, 0, 520, 64)),
        ((0, 0, 960, 33), (0, 0, 960, 64)),
    ],
)
def test_a_pass_that_moves_one_edge_sees_at_most_half_of_the_side_behind_it(known: Any, window: Any) -> None:
    assert plan_expansions((960, 64), known, 512)[0].window == window
