"""The settings of a prompt at a point of a sweep."""

from typing import Any

from farm.intake.library import KnownCheckpoint, Library
from farm.intake.sweeps.pointsettings import PromptSettings, apply_named_styles
from farm.prompts.styles import PromptStyle
from farm.spec.families import FAMILIES
from tests.factories import a_request

LIBRARY = Library(
    checkpoints={"demo": KnownCheckpoint(1, "demo", FAMILIES["sd15"], "a" * 64)},
    styles={
        "film": PromptStyle("film", "{prompt}, on film", "cartoon"),
        "ink": PromptStyle("ink", "<lora:ink:1>", ""),
    },
)


def settings_at(*point: int, **fields: Any) -> dict[str, Any]:
    """Those of the first prompt."""
    return PromptSettings(a_request(**fields), LIBRARY).at(0, point)


def test_styles_are_put_into_the_prompts() -> None:
    settings = {"prompt": "a fox", "seed": 1, "styles": ["film"], "negative_prompt": "fog"}
    found = apply_named_styles(settings, LIBRARY)
    assert (found["prompt"], found["negative_prompt"]) == ("a fox, on film", "fog, cartoon")
    assert "styles" not in found


def test_an_axis_overrules_the_prompt_and_the_prompt_its_job() -> None:
    axes = [{"field": "guidance_scale", "values": [3, 5]}]
    prompts = [{"prompt": "a", "guidance_scale": 9, "clip_skip": 2}]
    found = settings_at(1, prompts=prompts, axes=axes, guidance_scale=7, clip_skip=1, num_inference_steps=4)
    assert (found["guidance_scale"], found["clip_skip"], found["num_inference_steps"]) == (5, 2, 4)


def test_an_axis_weighs_a_lora_that_only_a_style_brings() -> None:
    axes = [{"field": "lora:ink", "values": [0.5]}]
    assert settings_at(0, prompts=["a fox"], styles=["ink"], axes=axes)["prompt"] == "a fox, <lora:ink:0.5>"


def test_an_open_seed_is_the_same_at_every_point() -> None:
    request = a_request(seed=None, axes=[{"field": "clip_skip", "values": [1, 2]}])
    settings = PromptSettings(request, LIBRARY)
    assert settings.at(0, (0,))["seed"] == settings.at(0, (1,))["seed"]
