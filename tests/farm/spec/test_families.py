"""The family of a diffusers folder follows from its UNet's config and what its scheduler says."""

import pytest

from farm.spec.families import family_of_parts

SD2 = {"use_linear_projection": True}


@pytest.mark.parametrize(
    ("unet", "prediction_type", "is_sdxl", "name"),
    [
        ({}, None, False, "sd15"),
        ({"in_channels": 4}, "v_prediction", False, "sd15"),
        ({"in_channels": 9}, "epsilon", False, "sd15-inpaint"),
        (SD2, "epsilon", False, "sd2"),
        (SD2, None, False, "sd2"),
        (SD2, "v_prediction", False, "sd2-v"),
        ({**SD2, "in_channels": 9}, "v_prediction", False, "sd2-inpaint"),
        (SD2, "epsilon", True, "sdxl"),
        ({**SD2, "in_channels": 9}, "epsilon", True, "sdxl-inpaint"),
    ],
)
def test_a_family_follows_from_the_parts(
    unet: dict[str, object], prediction_type: str | None, is_sdxl: bool, name: str
) -> None:
    family = family_of_parts(unet, prediction_type, is_sdxl=is_sdxl)
    assert family is not None
    assert family.name == name


def test_a_unet_of_other_channels_is_of_no_family() -> None:
    assert family_of_parts({"in_channels": 5}, "epsilon", is_sdxl=False) is None
