from collections import Counter

from farm.intake.request import SWEPT, PromptRow
from farm.spec.hires import Hires
from farm.spec.modes import MODES
from farm.spec.settingnames import INFOTEXT_KEYS, OTHER_NAMES, SHORT_NAMES, TITLES, in_sentence


def test_every_setting_of_a_request_and_of_a_spec_has_a_title() -> None:
    fields = {*PromptRow.model_fields, *SWEPT}.union(*(mode.spec.model_fields for mode in MODES.values()))
    parts = {f"hires.{name}" for name in Hires.model_fields} - {"hires.width", "hires.height"}
    assert fields | parts <= TITLES.keys()


def test_a_name_means_one_setting() -> None:
    shorts = [short for field, short in SHORT_NAMES.items() if short != field]
    assert not OTHER_NAMES.keys() & TITLES.keys()
    assert set(shorts) <= OTHER_NAMES.keys()
    assert Counter(INFOTEXT_KEYS.values()).most_common(1)[0][1] == 1


def test_other_names_lead_to_the_field() -> None:
    names = ("steps", "cfg", "cfg_scale", "scheduler", "denoising_strength", "hires_steps")
    assert [OTHER_NAMES[name] for name in names] == [
        *("num_inference_steps", "guidance_scale", "guidance_scale", "schedule_type", "strength"),
        "hires.num_inference_steps",
    ]


def test_a_title_within_a_sentence_keeps_the_capitals_of_an_abbreviation() -> None:
    fields = ("guidance_scale", "num_inference_steps", "vae", "schedule_type")
    assert [in_sentence(field) for field in fields] == ["CFG scale", "steps", "VAE", "schedule type"]
