"""Sizes that a request leaves open."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm.spec.modes import MODES
from farm.spec.sizes import Misfit, Settings, Size

PICTURE = (513, 770)
OWN = (512, 512)


def sized(mode: str, settings: Settings, own: Size, picture: Size | None) -> dict[str, Any]:
    return MODES[mode].size_rule(settings, own, picture)


def size(mode: str, picture: tuple[int, int] | None = PICTURE, side: int = 512, **settings: Any) -> tuple[int, int]:
    found = sized(mode, settings, (side, side), picture)
    return found["width"], found["height"]


def test_the_checkpoints_own_side_is_the_size_without_an_input() -> None:
    assert size("txt2img", None, side=1024) == (1024, 1024)


def test_a_requested_side_counts_before_the_checkpoints_own() -> None:
    assert size("txt2img", None, width=640) == (640, 512)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, (512, 768)),
        ({"width": 256}, (256, 384)),
        ({"height": 384}, (256, 384)),
        ({"width": 256, "height": 64}, (256, 64)),
    ],
)
def test_an_image_from_a_picture_keeps_its_proportions(settings: dict[str, int], expected: tuple[int, int]) -> None:
    assert size("img2img", **settings) == expected


def test_the_masked_region_alone_is_rendered_at_the_checkpoints_side() -> None:
    assert size("inpaint", area="masked") == (512, 512)


def test_an_enlargement_is_twice_the_input_unless_a_scale_is_given() -> None:
    assert size("upscale", (100, 203)) == (200, 408)
    assert size("upscale", (100, 200), scale=1.5) == (152, 304)


def test_an_enlargement_may_be_requested_by_its_size() -> None:
    assert size("upscale", (100, 200), width=400) == (400, 800)
    assert size("upscale", (100, 200), width=400, height=640) == (400, 640)
    with pytest.raises(Misfit):
        size("upscale", (100, 200), width=400, scale=2)


class TestOutpaint:
    def test_the_outpainted_size_holds_the_input_and_the_added_sides(self) -> None:
        found = sized("outpaint", {"left": 64, "top": 32}, OWN, (512, 512))
        assert (found["width"], found["height"]) == (576, 544)
        assert {name: found[name] for name in ("left", "right", "top", "bottom")} == {
            "left": 64,
            "right": 0,
            "top": 32,
            "bottom": 0,
        }

    def test_a_side_grows_a_little_more_where_the_sum_is_no_multiple_of_8(self) -> None:
        found = sized("outpaint", {"left": 64}, OWN, (509, 512))
        assert (found["left"], found["right"], found["width"]) == (67, 0, 576)

    @pytest.mark.parametrize(
        ("aspect", "expected"), [("16:9", (912, 512)), ("1:2", (512, 1024)), ("2:1", (1024, 512))]
    )
    def test_an_aspect_adds_on_both_sides_and_cuts_nothing(self, aspect: str, expected: tuple[int, int]) -> None:
        found = sized("outpaint", {"aspect": aspect}, OWN, (512, 512))
        assert (found["width"], found["height"]) == expected
        assert abs(found["left"] - found["right"]) <= 8
        assert abs(found["top"] - found["bottom"]) <= 8
        assert "aspect" not in found

    @pytest.mark.parametrize("settings", [{}, {"aspect": "1:1"}, {"aspect": "2:1", "left": 8}])
    def test_an_outpaint_that_adds_nothing_or_is_sized_twice_is_refused(self, settings: dict[str, Any]) -> None:
        with pytest.raises(Misfit):
            sized("outpaint", settings, OWN, (512, 512))

    @given(
        picture=st.tuples(st.integers(64, 2000), st.integers(64, 2000)),
        added=st.tuples(*[st.integers(0, 500)] * 4).filter(any),
    )
    def test_the_input_and_the_added_sides_always_add_up_to_the_outpainted_size(
        self, picture: tuple[int, int], added: tuple[int, int, int, int]
    ) -> None:
        left, right, top, bottom = added
        found = sized("outpaint", {"left": left, "right": right, "top": top, "bottom": bottom}, OWN, picture)
        assert found["width"] == picture[0] + found["left"] + found["right"]
        assert found["height"] == picture[1] + found["top"] + found["bottom"]
        assert found["width"] % 8 == found["height"] % 8 == 0
        assert 0 <= found["left"] - left < 8
        assert 0 <= found["bottom"] - bottom < 8
