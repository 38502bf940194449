"""Reading texts of the WebUI, and submitting what the farm's own texts say."""

import json
import time
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm.errors import InvalidRequest
from farm.infotext import infotext, read_infotext
from farm.infotext.grammar import parse
from farm.intake.library import KnownAddon, Library
from farm.intake.request import parse_request
from farm.intake.unfold import expand
from farm.spec.image import ImageSpec
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


def test_settings_that_mean_nothing_here_are_named() -> None:
    read = read_infotext(
        "a fox\nSteps: 20, Sampler: Euler, RNG: CPU, ENSD: 31337, ADetailer model: face, Upscaler: x"
    )
    assert read.warnings == ("left out, because it means nothing here: ENSD, ADetailer model, Upscaler",)


def test_an_invalid_value_is_left_out_and_named() -> None:
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


def test_a_value_that_is_no_json_string_stays_as_it_is() -> None:
    assert parse('x\nSteps: 1, Seed: 2, Model: "\\ud800", VAE: "\\x"').items == {
        "Steps": "1",
        "Seed": "2",
        "Model": '"\\ud800"',
        "VAE": '"\\x"',
    }


@given(text=st.text() | TEXTS)
def test_any_text_is_read_or_refused(text: str) -> None:
    with suppress(InvalidRequest):
        assert read_infotext(text).fields["mode"] in ("txt2img", "img2img", "inpaint")


@pytest.mark.parametrize("part", ["a", " ", '"', "a: ", 'a: "', "aa:", 'aa: "\\"', "aa: ,", "-/ ", "\n"])
def test_a_hostile_text_is_read_in_a_moment(part: str) -> None:
    started = time.monotonic()
    read_infotext((part * 200_000)[:200_000])
    assert time.monotonic() - started < 5


def test_a_text_beyond_the_length_limit_is_refused() -> None:
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
def test_a_text_of_the_farm_gives_the_same_spec_again(fields: dict[str, Any]) -> None:
    spec = unfolded({"prompts": ["a fox"], **fields, "seed": 7, "dynamic_prompts": "off"})
    assert unfolded(dict(read_infotext(infotext(spec, SHA256)).fields)) == spec


def test_a_prompt_of_the_farm_is_not_unfolded_again() -> None:
    fields = read_infotext(infotext(a_spec(prompt="a {fox|hen}"), SHA256)).fields
    assert unfolded(dict(fields)).prompt == "a {fox|hen}"


SETTINGS = "Steps: 20, Sampler: Euler, CFG scale: 5, Seed: 7, RNG: CPU, Model: demo"


@pytest.mark.parametrize(
    "templates",
    [
        "\nTemplate: a {red|blue} fox\nNegative Template: blurry, a: b, c: d",
        "\nTemplate: a {red|blue}\nfox, (x:1.2), (y:1.1), z: 1",
        "\nNegative Template: {blurry|dark}",
    ],
)
def test_templates_behind_the_settings_are_no_prompt(templates: str) -> None:
    read = read_infotext(f"a red fox\nNegative prompt: blurry\n{SETTINGS}{templates}")
    assert (read.fields["prompts"], read.fields["negative_prompt"], read.fields["seed"]) == (
        ["a red fox"],
        "blurry",
        7,
    )
    assert read.warnings == ("the template of its prompt is left out: the prompt stands there as it was unfolded",)


def test_templates_before_the_settings_are_no_negative_prompt() -> None:
    text = (
        f"a red fox\nNegative prompt: blurry\nTemplate: a {{red|blue}} fox\nNegative Template: blurry\n{SETTINGS}"
    )
    assert read_infotext(text).fields["negative_prompt"] == "blurry"


def test_a_note_behind_the_settings_is_named_with_its_line() -> None:
    read = read_infotext(f"a fox\nNegative prompt: blurry\n{SETTINGS}\n\nmy best one, so far")
    assert (read.fields["negative_prompt"], read.fields["seed"]) == ("blurry", 7)
    assert read.warnings == ("line 5 is left out, because it stands behind the settings: 'my best one, so far'",)


@pytest.mark.parametrize("items", [1, 2])
def test_fewer_than_three_settings_are_settings_too(items: int) -> None:
    fields = read_infotext("a fox\n" + ", ".join(SETTINGS.split(", ")[:items])).fields
    assert (fields["prompts"], fields["num_inference_steps"]) == (["a fox"], 20)


@pytest.mark.parametrize("gap", [" ", "\r", "\t", ", "])
def test_a_text_that_lost_its_line_breaks_is_refused(gap: str) -> None:
    with pytest.raises(InvalidRequest, match=r"prompt stands? within its prompt|settings stand"):
        read_infotext(f"a fox{gap}Negative prompt: blurry{gap}{SETTINGS}")


@pytest.mark.parametrize("start", ["{", "", "z"])
def test_damaged_json_is_refused_as_a_prompt(start: str) -> None:
    with pytest.raises(InvalidRequest, match="JSON"):
        read_infotext(start + '"sui_image_params": {"prompt": "a", "seed": 1')


def test_a_strength_without_a_second_pass_counts_only_if_a_picture_is_given() -> None:
    read = read_infotext(f"a fox\n{SETTINGS}, Denoising strength: 0.4")
    [warning] = read.warnings
    assert warning.startswith("its denoising strength 0.4 is not used")
    assert parse_request(dict(read.fields)).mode == "txt2img"
    given = read.with_picture()
    assert (given.fields["mode"], given.fields["strength"], given.warnings) == ("img2img", 0.4, ())


def test_a_text_of_img2img_is_not_changed_by_a_given_picture() -> None:
    read = read_infotext(f"a fox\n{SETTINGS}, Denoising strength: 0.4, Operations: img2img")
    assert read.fields["mode"] == "img2img"
    assert read.with_picture() == read


@pytest.mark.parametrize(
    ("items", "hires"),
    [
        (
            "Hires scale: 1.5, Hires size: 96x96, Hires steps: 10, Hires strength: 0.3, Operations: hires; txt2img",
            {"scale": 1.5, "num_inference_steps": 10, "strength": 0.3},
        ),
        (
            "Operations: hires; txt2img, Hires scale: 2, Denoising strength: 0.3, Image CFG scale: 6",
            {"scale": 2, "strength": 0.3},
        ),
    ],
)
def test_a_second_pass_of_sdnext_is_read_in_both_its_generations(items: str, hires: dict[str, float]) -> None:
    read = read_infotext(f"a fox\n{SETTINGS}, App: SD.Next, {items}")
    assert (read.fields["mode"], read.fields["hires"]) == ("txt2img", hires)
    assert parse_request(dict(read.fields)).hires is not None


def test_a_key_that_occurs_twice_is_named() -> None:
    assert read_infotext(f"a fox\n{SETTINGS}, Seed: 8").warnings == (
        "stands there twice, of which the last counts: Seed",
    )


def test_hashes_of_addons_are_read() -> None:
    hashes = (
        'VAE hash: 735e4c3a44, VAE: vae-ft-mse.safetensors, Lora hashes: "ink: 0123456789ab, pen: ba9876543210"'
    )
    civitai = 'Hashes: {"model": "c35782bad8", "embed:easy": "00112233aa", "lora:ink": "ffffffffff"}'
    read = read_infotext(f'a fox\n{SETTINGS}, {hashes}, TI hashes: "bad: 112233445566", {civitai}')
    assert [(each.kind, each.name, each.digits) for each in read.hashes] == [
        ("vae", "vae-ft-mse", "735e4c3a44"),
        ("lora", "ink", "0123456789ab"),
        ("lora", "pen", "ba9876543210"),
        ("embedding", "bad", "112233445566"),
        ("embedding", "easy", "00112233aa"),
    ]
    assert (read.model_hash, read.warnings) == ("c35782bad8", ())


@pytest.mark.parametrize("item", ['Lora hashes: "nonsense"', "Hashes: {nonsense}"])
def test_hashes_that_cannot_be_read_are_named(item: str) -> None:
    [warning] = read_infotext(f"a fox\n{SETTINGS}, {item}").warnings
    assert "is left out:" in warning


def test_loras_of_fooocus_are_called_in_the_prompt() -> None:
    text = f'a fox\n{SETTINGS}, Lora weights: "ink: 0.5, pen: 1.0", Version: Fooocus v2.5.5'
    assert read_infotext(text).fields["prompts"] == ["a fox <lora:ink:0.5> <lora:pen:1>"]


@pytest.mark.parametrize(
    "text",
    [
        "a fox\nSteps: 20\nSeed: 3",
        "a fox\nSampler: Euler\nSteps: 20",
    ],
)
def test_settings_on_several_lines_are_refused(text: str) -> None:
    with pytest.raises(InvalidRequest, match="its settings stand on several lines"):
        read_infotext(text)


def test_line_breaks_of_windows_are_no_part_of_a_value() -> None:
    read = read_infotext(f"a fox\r\nNegative prompt: blurry\r\n{SETTINGS}\r\nTemplate: a fox".replace("\n", "\r\n"))
    assert (read.fields["negative_prompt"], read.fields["checkpoint"]) == ("blurry", "demo")


def test_a_checkpoint_may_be_named_by_its_file() -> None:
    assert read_infotext(f"a fox\n{SETTINGS}.safetensors").fields["checkpoint"] == "demo"


JSON = '{"sui_image_params": {"prompt": "a", "seed": 1}}'


@pytest.mark.parametrize("text", [json.dumps(JSON), JSON.replace('"', "'"), JSON.replace('"', "&quot;")])
def test_quoted_or_escaped_json_is_refused_as_a_prompt(text: str) -> None:
    with pytest.raises(InvalidRequest, match="its prompt is JSON that is damaged"):
        read_infotext(text)


def test_a_byte_order_mark_before_a_text_is_no_part_of_it() -> None:
    assert read_infotext(f"\ufeff{JSON}").fields["prompts"] == ["a"]
