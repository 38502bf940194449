"""What is asked for is seen: measured on what the demo checkpoint draws, through the whole farm."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.farms import RunningFarm
from workers.demo.drawing import draw
from workers.demo.judging import View, look, share_of
from workers.demo.scenes import Background, Shapes, Thing

SIDE = 128
USUAL = {
    "images_per_prompt": 4,
    "seed": 1,
    "width": None,
    "height": None,
    "num_inference_steps": 20,
    "guidance_scale": 5,
    "sampler": "DPM++ 2M",
}


@dataclass
class Painter:
    """Asks the farm for pictures, sends it what they begin with, and waits for them."""

    running: RunningFarm
    folder: Path

    def paint(self, prompt: str, **fields: Any) -> list[Image.Image]:
        """Four pictures, unless another number is asked for, of the checkpoint's own size."""
        return self.running.pictures(self.running.submit(**{**USUAL, "prompts": [prompt], **fields}))

    def send(self, picture: Image.Image) -> str:
        picture.save(self.folder / "picture.png")
        return self.running.client.upload(self.folder / "picture.png").id

    def send_mask(self, *box: int) -> str:
        """A mask that is white in the box (left, top, right, bottom)."""
        mask = Image.new("L", (SIDE, SIDE))
        mask.paste(255, box)
        mask.save(self.folder / "mask.png")
        return self.running.client.upload(self.folder / "mask.png", "mask").id


@pytest.fixture
def painter(running: RunningFarm, tmp_path: Path) -> Painter:
    return Painter(running, tmp_path)


def a_scene(background: str, *things: Thing) -> Image.Image:
    return draw(Shapes(Background((background,)), things), (SIDE, SIDE))


def views(pictures: list[Image.Image]) -> list[View]:
    return [look(picture) for picture in pictures]


def named(view: View) -> tuple[str, str, str]:
    """The background, and the colour and the shape of the largest thing."""
    return view.background, view.things[0].colour, view.things[0].shape


def test_a_picture_shows_what_its_prompt_names(painter: Painter) -> None:
    pictures = painter.paint("a blue heart on a yellow background")
    assert {picture.size for picture in pictures} == {(SIDE, SIDE)}
    assert {named(view) for view in views(pictures)} == {("yellow", "blue", "heart")}


class TestImageToImage:
    THING = Thing("red", "circle", (0.32, 0.6), 0.2)

    def paint(self, painter: Painter, strength: float) -> list[View]:
        source = painter.send(a_scene("white", self.THING))
        prompt = "a green circle on a white background"
        return views(painter.paint(prompt, mode="img2img", image=source, strength=strength))

    def test_a_medium_strength_changes_the_colour_and_keeps_the_layout(self, painter: Painter) -> None:
        seen = self.paint(painter, 0.6)
        assert {named(view) for view in seen} == {("white", "green", "circle")}
        assert all(view.things[0].centre == pytest.approx(self.THING.centre, abs=0.1) for view in seen)

    def test_full_strength_takes_the_layout_from_the_prompt(self, painter: Painter) -> None:
        """Which says nothing of a place: where nothing is said, things stand in the middle."""
        centres = [view.things[0].centre for view in self.paint(painter, 1)]
        assert all(centre == pytest.approx((0.5, 0.5), abs=0.1) for centre in centres)

    def test_a_low_strength_keeps_the_colour_too(self, painter: Painter) -> None:
        assert {named(view) for view in self.paint(painter, 0.2)} == {("white", "red", "circle")}


@pytest.mark.parametrize(
    ("prompt", "area"),
    [
        ("a small red star in the top left corner on a teal background", {"area": "whole"}),
        ("a red star on a teal background", {"area": "masked", "padding": 0, "width": SIDE, "height": SIDE}),
    ],
    ids=["in sight of the whole picture", "in the masked area alone"],
)
def test_inpainting_paints_what_is_asked_for_into_the_mask_and_nowhere_else(
    painter: Painter, prompt: str, area: dict[str, Any]
) -> None:
    corner, blurred = (0, 0, 64, 64), (0, 0, 76, 76)
    source = a_scene("teal", Thing("yellow", "square", (0.76, 0.76), 0.14))
    given = {"image": painter.send(source), "mask": painter.send_mask(*corner), "mask_blur": 2}
    pictures = painter.paint(prompt, mode="inpaint", strength=1, **given, **area)
    assert all(share_of("red", picture.crop(corner)) > 0.08 for picture in pictures)
    for picture in pictures:
        picture.paste(source.crop(blurred), blurred)
    assert all(np.array_equal(picture, source) for picture in pictures)


def test_outpainting_goes_on_with_the_background(painter: Painter) -> None:
    source = painter.send(a_scene("teal", Thing("yellow", "circle", (0.5, 0.5), 0.25)))
    prompt = "a yellow circle on a teal background"
    pictures = painter.paint(prompt, mode="outpaint", image=source, left=32, right=32)
    margins = [picture.crop(box) for picture in pictures for box in ((0, 0, 32, SIDE), (160, 0, 192, SIDE))]
    assert all(share_of("teal", margin) > 0.95 for margin in margins)


def test_a_negative_prompt_removes_what_it_names(painter: Painter) -> None:
    """Of a circle without a colour, the colour that is usual, whichever that is."""
    prompt = "a circle on a white background"
    [(usual, _)] = Counter(colours(painter.paint(prompt))).most_common(1)
    assert usual not in colours(painter.paint(prompt, negative_prompt=f"a {usual} circle on a white background"))


def colours(pictures: list[Image.Image]) -> list[str]:
    return [view.things[0].colour for view in views(pictures)]


def test_more_guidance_follows_the_prompt_more_closely(painter: Painter) -> None:
    free, guided = (
        [view.things[0] for view in views(painter.paint("a green star on a pink background", guidance_scale=scale))]
        for scale in (1, 7)
    )
    assert {(thing.colour, thing.shape) for thing in guided} == {("green", "star")}
    assert mean(thing.likeness for thing in guided) > mean(thing.likeness for thing in free) + 0.05


def test_a_weight_in_the_prompt_shifts_the_colour(painter: Painter) -> None:
    prompts = ("a red blue circle on a white background", "a (red:1.5) blue circle on a white background")
    plain, weighted = (mean(share_of("red", picture) for picture in painter.paint(prompt)) for prompt in prompts)
    assert weighted > plain + 0.1
