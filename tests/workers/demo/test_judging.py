"""What the judge sees in pictures."""

from random import Random

import numpy as np
import pytest
from PIL import Image

from workers.demo.drawing import draw
from workers.demo.judging import look, share_of
from workers.demo.scenes import Background, Shapes, Thing, invent
from workers.demo.world import COLOURS, SHAPES

SIZE = (128, 128)


def a_picture(*things: Thing, background: str = "white") -> Image.Image:
    return draw(Shapes(Background((background,)), things), SIZE)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("colour", [colour for colour in COLOURS if colour != "white"])
def test_the_judge_names_what_was_drawn(colour: str, shape: str) -> None:
    view = look(a_picture(Thing(colour, shape, (0.4, 0.6), 0.2)))
    assert (view.background, view.things[0].colour, view.things[0].shape) == ("white", colour, shape)


def test_the_judge_is_right_about_the_scenes_of_training() -> None:
    scenes = [invent(Random(seed)) for seed in range(400)]
    plain = [scene for scene in scenes if isinstance(scene, Shapes) and len(scene.things) == 1]
    plain = [scene for scene in plain if scene.background.pattern == "plain"]
    for scene in plain:
        view, thing = look(draw(scene, SIZE)), scene.things[0]
        seen = (view.background, view.things[0].colour, view.things[0].shape)
        assert seen == (scene.background.colours[0], thing.colour, thing.shape)


def test_the_judge_says_where_a_thing_stands() -> None:
    (thing,) = look(a_picture(Thing("red", "circle", (0.25, 0.75), 0.15))).things
    assert thing.centre == pytest.approx((0.25, 0.75), abs=0.01)


def test_the_larger_of_two_comes_first() -> None:
    picture = a_picture(Thing("red", "star", (0.25, 0.5), 0.12), Thing("blue", "square", (0.7, 0.5), 0.2))
    assert [thing.colour for thing in look(picture).things] == ["blue", "red"]


def test_an_empty_picture_holds_nothing() -> None:
    assert look(a_picture(background="teal")).things == ()


def test_the_judge_takes_a_blot_for_no_shape() -> None:
    pixels = np.full((256, 256, 3), 250, dtype=np.uint8)
    pixels[40:200, 60:80] = pixels[40:60, 60:220] = (220, 40, 40)
    assert look(Image.fromarray(pixels)).things[0].shape == ""


def test_the_share_of_a_colour_is_a_part_of_the_picture() -> None:
    pixels = np.full((100, 100, 3), COLOURS["blue"], dtype=np.uint8)
    pixels[:25] = COLOURS["red"]
    assert share_of("red", Image.fromarray(pixels)) == 0.25
