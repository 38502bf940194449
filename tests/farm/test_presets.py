"""The presets are what they say: places that are understood, families and samplers that exist."""

import pytest

from farm import samplers
from farm.families import FAMILIES
from farm.hub.sources import HuggingFaceSource, parse_source
from farm.presets import PRESETS, NoSuchPreset, Preset, preset

EVERY = pytest.mark.parametrize("found", PRESETS.values(), ids=PRESETS)


def test_the_checkpoints_people_ask_for_are_there() -> None:
    assert {
        "realistic-vision-v2",
        "anything-v3",
        "deliberate",
        "protogen-x3.4",
        "openjourney-v4",
        "f222",
        "modelshoot",
        "sd15",
        "sd15-inpainting",
        "sdxl-base",
        "sdxl-inpainting",
    } <= set(PRESETS)


@EVERY
def test_a_source_is_understood(found: Preset) -> None:
    source = parse_source(found.source)
    assert isinstance(source, HuggingFaceSource)
    assert found.homepage == f"https://huggingface.co/{source.repo}"


@EVERY
def test_a_family_is_one_that_the_farm_renders(found: Preset) -> None:
    assert found.family in FAMILIES


@EVERY
def test_a_suggested_sampler_is_one_that_the_farm_has(found: Preset) -> None:
    suggested = found.suggestions
    assert suggested.sampler is None or suggested.sampler in samplers.SAMPLERS
    assert suggested.schedule_type is None or suggested.schedule_type in samplers.SCHEDULE_TYPES


@EVERY
def test_a_suggested_vae_is_a_preset_of_the_same_base(found: Preset) -> None:
    if found.suggestions.vae:
        vae = PRESETS[found.suggestions.vae]
        assert (vae.kind, FAMILIES[vae.family].base) == ("vae", FAMILIES[found.family].base)


@EVERY
def test_what_is_said_of_it_is_short_and_whole(found: Preset) -> None:
    assert found.title
    assert found.licence.name
    assert found.licence.note.endswith(".")
    assert len(found.description) < 160
    assert found.description.endswith(".")


def test_a_preset_has_its_name() -> None:
    assert preset("sd15").title == "Stable Diffusion 1.5"


def test_a_name_that_is_nearly_right_is_answered_with_the_right_one() -> None:
    with pytest.raises(NoSuchPreset, match="Did you mean 'realistic-vision-v2'"):
        preset("Realistic-Vision")
