"""The parameters text that is written, as the WebUI and others would read it."""

import json
import re
from typing import Any

import pytest
from hypothesis import given
from sd_parsers.data import Model
from sd_parsers.parsers import AUTOMATIC1111Parser

from farm import __version__
from farm.infotext import infotext, read_infotext, spec_of
from farm.infotext.grammar import parse
from farm.spec.hires import Hires
from farm.spec.image import AddonRef, ImageSpec, ImageToImageSpec, InpaintSpec, LoraRef, OutpaintSpec, UpscaleSpec
from tests.factories import a_spec
from tests.specs import PLAIN_TEXTS, specs

SHA256 = "c35782bad8" + "0" * 54
IMAGE, MASK = "1" * 64, "2" * 64
COMMON: dict[str, Any] = {"checkpoint": "demo", "prompt": "a fox", "seed": 1, "image": IMAGE}

# The WebUI's own expression for one item of the last line.
ITEM = re.compile(r'\s*(\w[\w \-/]+):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)')


def written(spec: ImageSpec, after: str, before: str = "Version") -> str:
    """The part of the last line from one key to another."""
    line = infotext(spec, SHA256).split("\n")[-1]
    return line[line.index(after) : line.index(f", {before}")]


def test_the_text_of_an_image_has_exactly_the_expected_lines() -> None:
    spec = a_spec(prompt="a castle", negative_prompt="blurry, lowres", width=512, height=768, seed=42)
    assert infotext(spec, SHA256) == (
        "a castle\n"
        "Negative prompt: blurry, lowres\n"
        "Steps: 20, Sampler: DPM++ 2M, Schedule type: Automatic, CFG scale: 7, Seed: 42, Size: 512x768, "
        f"Model hash: c35782bad8, Model: demo, RNG: CPU, Version: diffusion-farm {__version__}"
    )


def test_a_second_pass_is_written_in_the_webuis_words() -> None:
    spec = a_spec(hires=Hires(scale=1.5, num_inference_steps=12, strength=0.45), clip_skip=2)
    assert written(spec, "Denoising") == (
        "Denoising strength: 0.45, Clip skip: 2, RNG: CPU, "
        "Hires upscale: 1.5, Hires steps: 12, Hires upscaler: Latent"
    )
    sized = a_spec(hires=Hires(width=1024, height=768, upscaler="Lanczos"))
    assert written(sized, "Hires") == "Hires resize: 1024x768, Hires upscaler: Lanczos"


def test_inpainting_is_written_in_the_webuis_words() -> None:
    spec = InpaintSpec(
        **COMMON,
        mask=MASK,
        input_size=(640, 480),
        area="masked",
        padding=48,
        masked_content="latent_noise",
        invert_mask=True,
    )
    assert written(spec, "Denoising", "Mode: ") == (
        f"Denoising strength: 0.75, Init image hash: {IMAGE}, RNG: CPU, Mask mode: Inpaint not masked, "
        "Mask blur: 4, Inpaint area: Only masked, Masked area padding: 48, Masked content: latent noise"
    )


def test_settings_at_their_defaults_are_left_out() -> None:
    spec = InpaintSpec(**COMMON, mask=MASK, input_size=(640, 480))
    assert written(spec, "Mask") == f"Mask blur: 4, Mode: inpaint, Mask hash: {MASK}, Input size: 640x480"


@pytest.mark.parametrize(
    ("spec", "own"),
    [
        (ImageToImageSpec(**COMMON, resize_mode="crop"), "Mode: img2img, Resize mode: Crop and resize"),
        (
            OutpaintSpec(**COMMON, left=64, bottom=8),
            "Mask blur: 16, Mode: outpaint, Outpaint left: 64, Outpaint bottom: 8",
        ),
        (
            UpscaleSpec(**COMMON, upscaler="SD upscale", image_format="webp", quality=80),
            "Mode: upscale, Upscaler: SD upscale, Tile: 512, Tile overlap: 64, Format: webp, Quality: 80",
        ),
        (a_spec(deterministic=True), "Deterministic: True"),
    ],
)
def test_settings_that_the_webui_has_no_key_for_stand_at_the_end(spec: ImageSpec, own: str) -> None:
    assert written(spec, "RNG: CPU, ") == f"RNG: CPU, {own}"


def test_addons_are_written_with_short_hashes_for_the_webui_and_whole_for_the_farm() -> None:
    spec = a_spec(
        vae=AddonRef(name="clear", sha256="a" * 64),
        loras=(LoraRef(name="ink: v2", sha256="b" * 64), LoraRef(name="gold", sha256="c" * 64, weight=0.5)),
        embeddings=(AddonRef(name="bad-hands", sha256="d" * 64),),
    )
    assert written(spec, "VAE", "RNG") == "VAE hash: aaaaaaaaaa, VAE: clear"
    hashes = '"ink v2: bbbbbbbbbbbb, gold: cccccccccccc"'
    assert written(spec, "Lora", "Weights") == f'Lora hashes: {hashes}, TI hashes: "bad-hands: dddddddddddd"'
    assert spec_of(infotext(spec, SHA256)) == spec


def test_no_line_is_written_for_an_empty_prompt() -> None:
    assert infotext(a_spec(prompt=""), SHA256).startswith("Steps: 20")
    assert "Negative" not in infotext(a_spec(), SHA256)


@pytest.mark.parametrize(("scale", "text"), [(7, "7"), (7.5, "7.5"), (1.2345678, "1.2345678"), (0, "0")])
def test_the_guidance_scale_is_written_in_full(scale: float, text: str) -> None:
    assert parse(infotext(a_spec(guidance_scale=scale), SHA256)).items["CFG scale"] == text


@pytest.mark.parametrize("name", ["a,b", "sd: v1", 'the "best", really', "two\nlines", '"quoted"', " spaced "])
def test_a_name_that_would_break_the_line_is_quoted(name: str) -> None:
    text = infotext(a_spec(checkpoint=name), SHA256)
    assert f"Model: {json.dumps(name)}, RNG" in text
    assert parse(text).items["Model"] == name


@pytest.mark.parametrize(
    "prompt", ["a fox ", "\nfox", "a\n fox", "a fox\nNegative prompt: b", "Negative prompt: a", "a\r\nb"]
)
def test_a_prompt_that_the_grammar_would_change_is_repeated_as_exact_prompt(prompt: str) -> None:
    text = infotext(a_spec(prompt=prompt), SHA256)
    assert "Exact prompt: " in text
    assert spec_of(text).prompt == prompt


@pytest.mark.parametrize(
    "prompt", ["a fox", "a,\nb: c", "(a:1.2) <lora:b:1>", "Steps: 20, Sampler: Euler, Seed: 5"]
)
def test_a_prompt_that_the_grammar_leaves_unchanged_is_written_once(prompt: str) -> None:
    assert "Exact" not in infotext(a_spec(prompt=prompt), SHA256)


@given(spec=specs())
def test_a_written_text_is_read_back_whole(spec: ImageSpec) -> None:
    assert spec_of(infotext(spec, SHA256)) == spec


@given(spec=specs())
def test_a_text_of_the_farm_is_read_without_a_warning(spec: ImageSpec) -> None:
    read = read_infotext(infotext(spec, SHA256))
    assert (read.warnings, read.model_hash) == ((), SHA256[:10])


@given(spec=specs())
def test_the_webuis_own_expression_finds_every_item(spec: ImageSpec) -> None:
    text = infotext(spec, SHA256)
    assert [key for key, _value in ITEM.findall(text.split("\n")[-1])] == list(parse(text).items)


@given(spec=specs(prompt=PLAIN_TEXTS, negative_prompt=PLAIN_TEXTS))
def test_another_parser_reads_the_same(spec: ImageSpec) -> None:
    """Of names with commas and colons it makes what it likes: it splits at these wherever they stand."""
    spec = spec.model_copy(update={"checkpoint": "demo", "vae": None, "loras": (), "embeddings": ()})
    found = AUTOMATIC1111Parser().parse({"parameters": infotext(spec, SHA256)})
    [sampler] = found.samplers
    assert (found.full_prompt, found.full_negative_prompt) == (spec.prompt, spec.negative_prompt)
    assert (sampler.name, sampler.parameters["scheduler"]) == (spec.sampler, spec.schedule_type)
    assert (sampler.parameters["seed"], sampler.parameters["steps"]) == (
        str(spec.seed),
        str(spec.num_inference_steps),
    )
    assert float(sampler.parameters["cfg_scale"]) == spec.guidance_scale
    assert sampler.model == Model("demo", SHA256[:10])
