"""The presets are what they say: places that are understood, families and samplers that exist."""

from pathlib import Path

import pytest

from farm.spec import samplers
from farm.spec.families import FAMILIES
from farm.weights.addrequest import AddRequest
from farm.weights.hub.sources import HuggingFaceSource, LocalSource, parse_source
from farm.weights.presets import PRESETS, NoSuchPreset, Preset, preset

EVERY = pytest.mark.parametrize("found", PRESETS.values(), ids=PRESETS)
BUNDLED = PRESETS["demo"]
FROM_A_HUB = pytest.mark.parametrize("found", [found for found in PRESETS.values() if found != BUNDLED])


def test_the_most_requested_checkpoints_are_presets() -> None:
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


@FROM_A_HUB
def test_the_source_of_a_preset_is_understood(found: Preset) -> None:
    source = parse_source(found.source)
    assert isinstance(source, HuggingFaceSource)
    assert found.homepage == f"https://huggingface.co/{source.repo}"


def test_the_bundled_checkpoint_is_a_small_folder_of_the_package() -> None:
    source = parse_source(BUNDLED.source)
    assert isinstance(source, LocalSource)
    assert sum(file.stat().st_size for file in source.path.rglob("*")) < 12_000_000


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
def test_the_description_of_a_preset_is_short_and_complete(found: Preset) -> None:
    assert found.title
    assert found.licence.name
    assert found.licence.note.endswith(".")
    assert len(found.description) < 160
    assert found.description.endswith(".")


def test_a_misspelled_preset_is_answered_with_the_right_one() -> None:
    with pytest.raises(NoSuchPreset, match="Did you mean 'realistic-vision-v2'"):
        AddRequest("checkpoint", "realistic-vison-v2").find_preset()


@pytest.mark.parametrize("source", ["./sd14", "https://host/sd14", "hf:owner/sd14", "my-own-thing.safetensors"])
def test_a_source_of_another_form_is_no_misspelled_preset(source: str) -> None:
    assert AddRequest("checkpoint", source).find_preset() is None


def test_a_file_here_is_no_misspelled_preset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sd14").touch()
    assert AddRequest("checkpoint", "sd14").find_preset() is None


def test_a_lora_is_no_misspelled_checkpoint() -> None:
    assert AddRequest("lora", "realistic-vison-v2").find_preset() is None


def test_a_preset_is_found_by_its_name() -> None:
    assert preset("sd15").title == "Stable Diffusion 1.5"


def test_a_name_that_is_nearly_right_is_answered_with_the_right_one() -> None:
    with pytest.raises(NoSuchPreset, match="Did you mean 'realistic-vision-v2'"):
        preset("Realistic-Vision")
