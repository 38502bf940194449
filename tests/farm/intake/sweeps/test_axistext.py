"""Axes as people write them."""

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm.errors import InvalidRequest
from farm.intake.request import MOST_VALUES
from farm.intake.sweeps.axistext import read_axis, read_values


@pytest.mark.parametrize(
    ("text", "field", "values"),
    [
        ("steps=10,20", "num_inference_steps", [10, 20]),
        ("seed=1-4", "seed", [1, 2, 3, 4]),
        ("steps=10-50 (+20)", "num_inference_steps", [10, 30, 50]),
        ("cfg=1-3 (+0.5)", "guidance_scale", [1, 1.5, 2, 2.5, 3]),
        ("strength=0-1 [5]", "strength", [0, 0.25, 0.5, 0.75, 1]),
        ("sampler=Euler a, DPM++ 2M", "sampler", ["Euler a", "DPM++ 2M"]),
        ('replace="red, old",blue', "prompt_replace", ["red, old", "blue"]),
        ("size=512x768", "size", ["512x768"]),
        ("lora:ink=0.5,1", "lora:ink", [0.5, 1]),
        ("prompt=1-3", "prompt", ["1-3"]),
        ("steps=30-10 (-10)", "num_inference_steps", [30, 20, 10]),
        ("steps=9-6", "num_inference_steps", [9, 8, 7, 6]),
        ("cfg=2-1 (0.5)", "guidance_scale", [2, 1.5, 1]),
        ("steps=10-5 (-3)", "num_inference_steps", [10, 7]),
        ("steps=1-10 [5]", "num_inference_steps", [1, 3, 5, 7, 10]),
        ("lora:ink=-1-1 (+0.5)", "lora:ink", [-1, -0.5, 0, 0.5, 1]),
        ("seed=5-5", "seed", [5]),
        ("scheduler=Karras", "schedule_type", ["Karras"]),
        ("denoising_strength=0.5", "strength", [0.5]),
    ],
)
def test_an_axis_is_read_as_it_is_meant(text: str, field: str, values: list[Any]) -> None:
    assert read_axis(text) == {"field": field, "values": values}


@pytest.mark.parametrize(
    "text",
    [
        *("steps", "steps=", "steps=many", "seed=1-99999999", "cfg=nan", "cfg=1e999"),
        *(f"seed=1-4 [{'9' * 5000}]", f"seed=1-{'9' * 16}", f"seed={'9' * 5000}"),
    ],
)
def test_an_axis_that_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest):
        read_axis(text)


@pytest.mark.parametrize("text", ["9-3 (+1)", "3-9 (-1)", "1-4 [0]", "1-4 (0)"])
def test_a_range_that_holds_no_value_is_refused_by_its_text(text: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        read_axis(f"steps=20, {text}")
    assert f"the range '{text}' holds no value" in str(caught.value)


@given(field=st.sampled_from(["seed", "strength", "prompt"]), text=st.text())
def test_no_text_breaks_the_reader(field: str, text: str) -> None:
    with suppress(InvalidRequest):
        assert len(read_values(field, text)) <= MOST_VALUES
