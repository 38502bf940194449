"""From the settings of one image to its spec."""

from typing import Any

import pytest

from farm.intake.library import KnownAddon, KnownCheckpoint, Library
from farm.intake.resolve import resolve_spec
from farm.prompts.styles import PromptStyle
from farm.spec.families import FAMILIES
from farm.spec.image import ImageSpec
from farm.spec.modes import MODES

PICTURE, MASK = "1" * 64, "2" * 64

LIBRARY = Library(
    checkpoints={
        "demo": KnownCheckpoint(1, "demo", FAMILIES["sd15"], "a" * 64),
        "large": KnownCheckpoint(2, "large", FAMILIES["sdxl"], "b" * 64),
    },
    vaes={"clear": KnownAddon("clear", "sd15", "c" * 64)},
    loras={"ink": KnownAddon("ink", "sd15", "d" * 64), "oil": KnownAddon("oil", "sdxl", "e" * 64)},
    embeddings={"easynegative": KnownAddon("easynegative", "sd15", "f" * 64)},
    styles={"film": PromptStyle("film", "{prompt}, on film", "cartoon")},
    pictures={PICTURE: (512, 768), MASK: (512, 768)},
)
NEEDED: dict[str, dict[str, Any]] = {
    "txt2img": {},
    "img2img": {"image": PICTURE},
    "inpaint": {"image": PICTURE, "mask": MASK},
    "outpaint": {"image": PICTURE, "left": 64},
    "upscale": {"image": PICTURE},
}


def settings(mode: str = "txt2img", **fields: Any) -> dict[str, Any]:
    return {"prompt": "a fox", "seed": 1, "checkpoint": "demo", **NEEDED[mode], **fields}


def spec(mode: str = "txt2img", **fields: Any) -> ImageSpec:
    resolution = resolve_spec(mode, settings(mode, **fields), LIBRARY)
    assert resolution.problems == ()
    assert resolution.spec is not None
    return resolution.spec


def problems(mode: str = "txt2img", **fields: Any) -> list[tuple[str, str]]:
    given = {name: value for name, value in settings(mode, **fields).items() if value is not None}
    return [(problem.field, problem.message) for problem in resolve_spec(mode, given, LIBRARY).problems]


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_needs_nothing_but_its_inputs(mode: str) -> None:
    assert spec(mode).mode == mode


@pytest.mark.parametrize("mode", MODES)
def test_a_mode_takes_only_what_its_spec_or_its_sizes_know(mode: str) -> None:
    derived = {"styles", "scale", "aspect"}
    assert MODES[mode].takes - derived <= MODES[mode].spec.model_fields.keys()


def test_a_setting_of_another_mode_is_refused_with_the_mode_it_is_for() -> None:
    assert problems(mask=MASK) == [("mask", "is for inpaint, not for txt2img")]


def test_a_missing_input_is_named() -> None:
    assert problems("inpaint", image=None, mask=None) == [
        ("image", "inpaint needs one"),
        ("mask", "inpaint needs one"),
    ]


@pytest.mark.parametrize(
    ("fields", "field", "message"),
    [
        (
            {"checkpoint": "demu"},
            "checkpoint",
            "unknown checkpoint 'demu'. Did you mean 'demo'? Known: demo, large",
        ),
        ({"checkpoint": None}, "checkpoint", "must be named. Known: demo, large"),
        ({"vae": "blurry"}, "vae", "unknown VAE 'blurry'. Known: clear"),
        ({"styles": ["noir"]}, "styles", "unknown style 'noir'. Known: film"),
        ({"prompt": "a fox <lora:pen:1>"}, "lora:pen", "unknown LoRA 'pen'. Known: ink, oil"),
        (
            {"prompt": "a fox <lora:oil:1>"},
            "lora:oil",
            "LoRA 'oil' is made for sdxl, checkpoint 'demo' is sd15",
        ),
        ({"prompt": "<lora:ink:50>"}, "lora:ink", "LoRA 'ink': a weight is from -10 to 10"),
        ({"prompt": "<lora:ink:6> <lora:ink:6>"}, "lora:ink", "LoRA 'ink': a weight is from -10 to 10"),
        (
            {"checkpoint": "large", "vae": "clear"},
            "vae",
            "VAE 'clear' is made for sd15, checkpoint 'large' is sdxl",
        ),
    ],
)
def test_an_unknown_name_is_refused_with_the_known_ones(fields: dict[str, Any], field: str, message: str) -> None:
    assert problems(**fields) == [(field, message)]


def test_an_unknown_upload_is_refused() -> None:
    assert problems("img2img", image="3" * 64) == [("image", f"there is no upload {'3' * 64}")]


def test_addons_are_fixed_by_their_hash() -> None:
    found = spec(prompt="a fox <lora:ink:0.8>", negative_prompt="easynegative, fog", vae="clear")
    assert [(lora.name, lora.sha256, lora.weight) for lora in found.loras] == [("ink", "d" * 64, 0.8)]
    assert [embedding.sha256 for embedding in found.embeddings] == ["f" * 64]
    assert found.vae is not None
    assert found.vae.sha256 == "c" * 64


def test_an_embedding_of_another_base_is_an_ordinary_word() -> None:
    assert spec(checkpoint="large", prompt="easynegative").embeddings == ()


def test_the_number_of_prompts_joined_by_and_is_limited() -> None:
    assert problems(prompt=" AND ".join(["a"] * 17)) == [("prompt", "joins 17 prompts by AND; at most 16")]


def test_a_checkpoint_renders_at_its_own_side() -> None:
    assert (spec(checkpoint="large").width, spec(checkpoint="demo").width) == (1024, 512)
