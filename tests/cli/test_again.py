"""Options overrule what an image says that is to be rendered again."""

from typing import Any

import pytest

from farm.cli.again import infer_mode
from farm.cli.requesting import build_request
from farm.cli.rows import read_prompt_rows
from farm.client import Client
from farm.errors import InvalidRequest

UPLOAD, OTHER = "1" * 64, "2" * 64
PROMPTS = {"prompts": ["a {fox}"], "dynamic_prompts": "off", "seed": 7}
TXT2IMG = {**PROMPTS, "mode": "txt2img", "width": 512, "height": 768}
HIRES = {**TXT2IMG, "hires": {"scale": 2, "strength": 0.5, "upscaler": "Lanczos"}}
IMG2IMG = {**TXT2IMG, "mode": "img2img", "image": UPLOAD, "strength": 0.4, "resize_mode": "crop"}
INPAINT = {**IMG2IMG, "mode": "inpaint", "mask": UPLOAD, "area": "masked", "padding": 16}
OUTPAINT = {**PROMPTS, "mode": "outpaint", "image": UPLOAD, "left": 64, "right": 8, "top": 8, "mask_blur": 9}
UPSCALE = {**TXT2IMG, "mode": "upscale", "image": UPLOAD, "upscaler": "SD upscale", "tile": 256}


def again(before: dict[str, Any], *prompts: str, **options: Any) -> dict[str, Any]:
    """What a request says, with nothing to be asked of any portal."""
    request = build_request(Client("http://nowhere.test"), read_prompt_rows(prompts, None), options, before)
    return request.model_dump(exclude_defaults=True, exclude_none=True)


def test_settings_without_an_option_stay_as_the_image_has_them() -> None:
    said = again(INPAINT, num_inference_steps=9)
    assert said.pop("num_inference_steps") == 9
    assert said == {**INPAINT, "prompts": [{"prompt": "a {fox}"}]}


@pytest.mark.parametrize(
    ("options", "hires"),
    [
        ({"hires_steps": 9}, {"scale": 2, "strength": 0.5, "upscaler": "Lanczos", "num_inference_steps": 9}),
        ({"hires": "1.5"}, {"scale": 1.5, "strength": 0.5, "upscaler": "Lanczos"}),
        ({"hires": "640x960"}, {"width": 640, "height": 960, "strength": 0.5, "upscaler": "Lanczos"}),
    ],
)
def test_a_second_pass_keeps_its_settings_that_no_option_gives(
    options: dict[str, Any], hires: dict[str, Any]
) -> None:
    assert again(HIRES, **options)["hires"] == hires


def test_a_scale_takes_the_place_of_the_size() -> None:
    said = again(UPSCALE, scale=3.0)
    assert (said["scale"], said["tile"]) == (3, 256)
    assert said.keys().isdisjoint({"width", "height"})


def test_an_aspect_takes_the_place_of_the_sides() -> None:
    said = again(OUTPAINT, aspect="16:9")
    assert (said["aspect"], said["mask_blur"]) == ("16:9", 9)
    assert said.keys().isdisjoint({"left", "right", "top"})


@pytest.mark.parametrize(
    ("before", "options", "mode", "dropped"),
    [
        (HIRES, {"image": OTHER}, "img2img", {"hires"}),
        (IMG2IMG, {"mask": OTHER}, "inpaint", set()),
        (INPAINT, {"left": 64}, "outpaint", {"mask", "area", "padding", "width", "height", "resize_mode"}),
        (IMG2IMG, {"upscaler": "Lanczos"}, "upscale", {"width", "height", "resize_mode"}),
        (INPAINT, {"mode": "img2img"}, "img2img", {"mask", "area", "padding"}),
    ],
)
def test_another_mode_drops_the_settings_that_it_does_not_take(
    before: dict[str, Any], options: dict[str, Any], mode: str, dropped: set[str]
) -> None:
    said = again(before, **options)
    assert said.get("mode", "txt2img") == mode
    assert before.keys() - said.keys() - {"mode"} == dropped


@pytest.mark.parametrize(
    ("before", "options"), [(INPAINT, {"strength": 0.9}), (OUTPAINT, {"image": OTHER}), (UPSCALE, {"overlap": 32})]
)
def test_the_mode_stays_if_it_takes_the_given_options(before: dict[str, Any], options: dict[str, Any]) -> None:
    assert again(before, **options) == {**again(before), **options}


@pytest.mark.parametrize(
    ("names", "mode"),
    [
        ((), "txt2img"),
        (("hires",), "txt2img"),
        (("strength",), "img2img"),
        (("image", "mask"), "inpaint"),
        (("image", "resize_mode", "left"), "outpaint"),
        (("image", "strength", "scale"), "upscale"),
        (("left", "scale", "mask"), "inpaint"),
    ],
)
def test_the_mode_follows_from_what_is_given(names: tuple[str, ...], mode: str) -> None:
    assert infer_mode(names) == mode


def test_new_prompts_are_unfolded() -> None:
    assert again(TXT2IMG)["dynamic_prompts"] == "off"
    assert "dynamic_prompts" not in again(TXT2IMG, "a {hare|owl}")
    assert again(TXT2IMG, "a {hare|owl}", dynamic_prompts="all")["dynamic_prompts"] == "all"


@pytest.mark.parametrize("picture", [UPLOAD, "https://host/a.png"])
def test_a_picture_may_be_an_upload_or_an_address(picture: str) -> None:
    assert again({}, "a fox", image=picture)["image"] == picture


@pytest.mark.parametrize("text", ["/nope.png", "/", "x" * 5000])
def test_a_missing_picture_is_refused_by_its_name(text: str) -> None:
    with pytest.raises(InvalidRequest, match=r"mask: .* is neither a file here"):
        again({}, "a fox", image=UPLOAD, mask=text)
