"""Reading texts of the WebUI, and submitting what the farm's own texts say."""

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm.errors import InvalidRequest
from farm.expand import expand
from farm.infotext import infotext, read_infotext
from farm.infotext.grammar import parse
from farm.library import KnownAddon, Library
from farm.requests import parse_request
from farm.specs import ImageSpec
from tests.factories import LIBRARY, a_spec
from tests.specs import TEXTS

SHA256 = "c35782bad8" + "0" * 54
IMAGE, MASK = "1" * 64, "2" * 64

WEBUI = """a castle (at night:1.2), <lora:ink:0.8>
with a moat
Negative prompt: blurry,
lowres
Steps: 28, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 7.5, Seed: 42, Size: 512x768, \
Model hash: c35782bad8, Model: realisticVisionV20, VAE hash: 735e4c3a44, VAE: vae-ft-mse.safetensors, \
Denoising strength: 0.5, Clip skip: 2, Hires upscale: 2, Hires steps: 12, Hires upscaler: Latent, \
Lora hashes: "ink: 0123456789ab", Version: v1.10.1"""


def test_a_text_of_the_webui_is_a_request() -> None:
    read = read_infotext(WEBUI)
    assert read.fields == {
        "mode": "txt2img",
        "prompts": ["a castle (at night:1.2), <lora:ink:0.8>\nwith a moat"],
        "negative_prompt": "blurry,\nlowres",
        "num_inference_steps": 28,
        "sampler": "DPM++ 2M",
        "schedule_type": "Karras",
        "guidance_scale": 7.5,
        "seed": 42,
        "width": 512,
        "height": 768,
        "checkpoint": "realisticVisionV20",
        "vae": "vae-ft-mse",
        "clip_skip": 2,
        "hires": {"scale": 2, "num_inference_steps": 12, "upscaler": "Latent", "strength": 0.5},
        "dynamic_prompts": "off",
    }
    assert read.model_hash == "c35782bad8"
    assert parse_request(dict(read.fields)).hires


def fields_of(items: str) -> dict[str, Any]:
    return dict(read_infotext(f"a fox\nSteps: 20, Sampler: Euler a, Seed: 1, {items}").fields)


@pytest.mark.parametrize(
    ("items", "fields"),
    [
        ("Sampler: DPM++ SDE Karras", {"sampler": "DPM++ SDE", "schedule_type": "Karras"}),
        ("Sampler: Restart", {"sampler": "Restart"}),
        (
            "Hires resize: 1024x768, Hires upscaler: Latent",
            {"hires": {"width": 1024, "height": 768, "upscaler": "Latent"}},
        ),
        ("Hires upscale: 1.5, Hires steps: 0", {"hires": {"scale": 1.5}}),
        ("Denoising strength: 0.4", {"mode": "txt2img", "strength": None}),
        ("Denoising strength: 0.4, Noise multiplier: 1", {"mode": "img2img", "strength": 0.4}),
        ("Denoising strength: 1, Mask blur: 4", {"mode": "inpaint", "mask_blur": 4, "strength": 1}),
        (
            "Mask mode: Inpaint not masked, Inpaint area: Only masked, Masked content: fill",
            {"invert_mask": True, "area": "masked", "masked_content": "fill"},
        ),
        ('Model: "a, b: c"', {"checkpoint": "a, b: c"}),
    ],
)
def test_keys_of_the_webui_are_fields(items: str, fields: dict[str, Any]) -> None:
    found = fields_of(items)
    assert {name: found.get(name) for name in fields} == fields


def test_what_means_nothing_here_is_named() -> None:
    read = read_infotext(
        "a fox\nSteps: 20, Sampler: Euler, RNG: CPU, ENSD: 31337, ADetailer model: face, Upscaler: x"
    )
    assert read.warnings == ("left out, because it means nothing here: ENSD, ADetailer model, Upscaler",)


def test_a_value_that_is_none_is_left_out_and_named() -> None:
    read = read_infotext("a fox\nSteps: many, Sampler: Euler, RNG: CPU")
    assert "num_inference_steps" not in read.fields
    assert read.warnings == ("Steps is left out: 'many' is no value for it",)


def test_noise_of_a_gpu_and_pictures_that_are_elsewhere_are_named() -> None:
    read = read_infotext(
        "a fox\nSteps: 20, Sampler: Euler, Seed: 3, Denoising strength: 0.4, Init image hash: 12ab"
    )
    assert [warning.partition(":")[0] for warning in read.warnings] == [
        "its noise was drawn on a GPU and is drawn on the CPU here",
        "it does not hold the picture it began from",
    ]
    assert "image" not in read.fields


@pytest.mark.parametrize("text", ["a fox", "a fox\nSampler: Euler, Seed: 4", "", "\n\n", "a: b, c: d, e: f"])
def test_a_text_without_settings_is_all_prompt(text: str) -> None:
    assert read_infotext(text).fields == {
        "mode": "txt2img",
        "prompts": [text.strip()],
        "negative_prompt": "",
        "dynamic_prompts": "off",
    }


def test_what_is_no_json_string_stays_as_it_is() -> None:
    assert parse('x\nSteps: 1, Seed: 2, Model: "\\ud800", VAE: "\\x"').items == {
        "Steps": "1",
        "Seed": "2",
        "Model": '"\\ud800"',
        "VAE": '"\\x"',
    }


@given(text=st.text() | TEXTS)
def test_no_text_is_too_strange_to_read(text: str) -> None:
    assert read_infotext(text).fields["mode"] in ("txt2img", "img2img", "inpaint")


@pytest.mark.parametrize("part", ["a", " ", '"', "a: ", 'a: "', "aa:", 'aa: "\\"', "aa: ,", "-/ ", "\n"])
def test_a_hostile_text_is_read_in_a_moment(part: str) -> None:
    started = time.monotonic()
    read_infotext((part * 200_000)[:200_000])
    assert time.monotonic() - started < 5


def test_a_text_beyond_all_measure_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="more than 200,000 characters"):
        read_infotext("x" * 200_001)


PICTURES = {IMAGE: (512, 448), MASK: (512, 448)}
AGAIN: list[dict[str, Any]] = [
    {"prompts": ["a \\{fox\\} {in|snow} <lora:ink:0.5> bad-hands"], "negative_prompt": " fog ", "vae": "clear"},
    {"sampler": "DPM++ 2M SDE", "schedule_type": "Karras", "clip_skip": 2, "deterministic": True, "quality": 70},
    {"hires": {"width": 1024, "height": 768, "strength": 0.4, "num_inference_steps": 9}, "image_format": "jpeg"},
    {"mode": "img2img", "image": IMAGE, "strength": 0.35, "resize_mode": "fill", "width": 640},
    {"mode": "inpaint", "image": IMAGE, "mask": MASK, "area": "masked", "padding": 0, "invert_mask": True},
    {"mode": "outpaint", "image": IMAGE, "left": 100, "top": 3, "mask_blur": 0},
    {"mode": "upscale", "image": IMAGE, "scale": 1.5},
]


def unfolded(fields: dict[str, Any]) -> ImageSpec:
    library = Library(
        LIBRARY.checkpoints,
        vaes={"clear": KnownAddon("clear", "sd15", "a" * 64)},
        loras={"ink": KnownAddon("ink", "sd15", "b" * 64)},
        embeddings={"bad-hands": KnownAddon("bad-hands", "sd15", "c" * 64)},
        pictures=PICTURES,
    )
    [group] = expand(parse_request(fields), library).groups
    return group.template


@pytest.mark.parametrize("fields", AGAIN)
def test_what_a_text_of_the_farm_says_is_rendered_again(fields: dict[str, Any]) -> None:
    spec = unfolded({"prompts": ["a fox"], **fields, "seed": 7, "dynamic_prompts": "off"})
    assert unfolded(dict(read_infotext(infotext(spec, SHA256)).fields)) == spec


def test_a_prompt_is_not_unfolded_again() -> None:
    fields = read_infotext(infotext(a_spec(prompt="a {fox|hen}"), SHA256)).fields
    assert unfolded(dict(fields)).prompt == "a {fox|hen}"
