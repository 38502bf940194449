"""The names of samplers and schedule types: which are known, which go together, what the older ones mean."""

import re
from typing import Any

import pytest

from farm.spec.samplers import (
    AUTOMATIC,
    SAMPLERS,
    SCHEDULE_TYPES,
    check_pair,
    known_sampler,
    known_schedule_type,
    schedule_of,
    split_name,
)


@pytest.mark.parametrize(
    ("name", "sampler", "schedule_type"),
    [
        ("DPM++ 2M Karras", "DPM++ 2M", "Karras"),
        ("DPM++ SDE Karras", "DPM++ SDE", "Karras"),
        ("DPM++ 2M SDE Karras", "DPM++ 2M SDE", "Karras"),
        ("DPM++ 2M SDE Exponential", "DPM++ 2M SDE", "Exponential"),
        ("DPM++ 2M SDE Heun Karras", "DPM++ 2M SDE Heun", "Karras"),
        ("DPM++ 2M SGM Uniform", "DPM++ 2M", "SGM Uniform"),
        ("DPM2 a Karras", "DPM2 a", "Karras"),
        ("k_lms_ka", "LMS", "Karras"),
        ("k_dpm_2_a_ka", "DPM2 a", "Karras"),
        ("k_dpmpp_2m_ka", "DPM++ 2M", "Karras"),
    ],
)
def test_an_older_name_is_a_sampler_and_a_schedule_type(name: str, sampler: str, schedule_type: str) -> None:
    assert split_name({"sampler": name}) == {"sampler": sampler, "schedule_type": schedule_type}


@pytest.mark.parametrize(
    ("alias", "sampler"), [("k_euler_a", "Euler a"), ("k_euler_ancestral", "Euler a"), ("k_dpmpp_2m", "DPM++ 2M")]
)
def test_an_alias_is_its_sampler_and_leaves_the_schedule_type(alias: str, sampler: str) -> None:
    assert split_name({"sampler": alias, "seed": 1}) == {"sampler": sampler, "seed": 1}
    assert split_name({"sampler": alias, "schedule_type": "Beta"})["schedule_type"] == "Beta"


@pytest.mark.parametrize(
    "data",
    [
        {"sampler": "Euler a"},
        {"sampler": "Euler b Karras"},
        {"sampler": "Karras"},
        {"sampler": "_ka"},
        {"sampler": 7},
        {},
        "Euler",
        # Said twice, and not the same.
        {"sampler": "DPM++ 2M Karras", "schedule_type": "Beta"},
    ],
)
def test_a_name_that_is_no_older_one_is_left_as_it_is(data: Any) -> None:
    assert split_name(data) == data


def test_an_older_name_may_come_with_its_own_schedule_type() -> None:
    data = {"sampler": "DPM++ 2M Karras", "schedule_type": "Karras"}
    assert split_name(data) == {"sampler": "DPM++ 2M", "schedule_type": "Karras"}


@pytest.mark.parametrize("name", SAMPLERS)
def test_each_sampler_knows_its_default_schedule(name: str) -> None:
    check_pair(name, AUTOMATIC)
    check_pair(name, schedule_of(name, AUTOMATIC))


@pytest.mark.parametrize(
    ("sampler", "schedule_type"),
    [("Euler a", "Karras"), ("DDIM", "Uniform"), ("DPM++ 2M", "Uniform"), ("UniPC", "DDIM"), ("LCM", "Karras")],
)
def test_an_unsupported_pair_is_refused_with_the_schedule_types_that_are_supported(
    sampler: str, schedule_type: str
) -> None:
    with pytest.raises(
        ValueError, match=f"schedule_type: {re.escape(sampler)} has no equal with {schedule_type}; it takes Aut"
    ):
        check_pair(sampler.replace("\\", ""), schedule_type)


def test_an_unknown_name_is_refused_with_the_nearest() -> None:
    with pytest.raises(ValueError, match="did you mean 'Euler a'"):
        known_sampler("Euler A")
    with pytest.raises(ValueError, match="did you mean 'Karras'"):
        known_schedule_type("Karas")


def test_no_name_means_two_samplers() -> None:
    names = [name for sampler in SAMPLERS.values() for name in (sampler.name, *sampler.aliases)]
    assert len(names) == len(set(names))


def test_every_schedule_type_belongs_to_a_sampler() -> None:
    assert {AUTOMATIC, *(name for sampler in SAMPLERS.values() for name in sampler.schedules)} == set(
        SCHEDULE_TYPES
    )
