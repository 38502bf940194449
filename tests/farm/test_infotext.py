"""The parameters text, as the WebUI would read it."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm import __version__
from farm.infotext import infotext
from tests.factories import a_spec

SHA256 = "c35782bad8" + "0" * 54

# The WebUI's own expression for one item of the last line.
ITEM = re.compile(r'\s*(\w[\w \-/]+):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)')

WORDS = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1).map(str.strip).filter(bool)


def read(text: str) -> dict[str, str]:
    """Read a text as the WebUI does: the items of the last line, the prompts from the lines above."""
    *lines, last = text.split("\n")
    items = {key: json.loads(value) if value.startswith('"') else value for key, value in ITEM.findall(last)}
    prompt, _, negative = "\n".join(lines).partition("\nNegative prompt: ")
    return {"prompt": prompt, "negative": negative, **items}


def test_the_text_of_an_image_is_exactly_this() -> None:
    spec = a_spec(prompt="a castle", negative_prompt="blurry, lowres", width=512, height=768, seed=42)
    assert infotext(spec, SHA256) == (
        "a castle\n"
        "Negative prompt: blurry, lowres\n"
        "Steps: 20, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 7, Seed: 42, Size: 512x768, "
        f"Model hash: c35782bad8, Model: demo, RNG: CPU, Version: diffusion-farm {__version__}"
    )


def test_no_line_is_written_for_an_empty_negative_prompt() -> None:
    assert "Negative" not in infotext(a_spec(), SHA256)


def test_no_line_is_written_for_an_empty_prompt() -> None:
    assert infotext(a_spec(prompt=""), SHA256).startswith("Steps: 20")


def test_a_prompt_may_span_lines() -> None:
    read_back = read(infotext(a_spec(prompt="a castle,\nat night", negative_prompt="fog\nrain"), SHA256))
    assert (read_back["prompt"], read_back["negative"]) == ("a castle,\nat night", "fog\nrain")


@pytest.mark.parametrize(
    ("sampler", "written"),
    [
        ("Euler a", "Sampler: Euler a, CFG"),
        ("DPM++ 2M", "Sampler: DPM++ 2M, CFG"),
        ("DPM++ 2M Karras", "Sampler: DPM++ 2M, Schedule type: Karras, CFG"),
    ],
)
def test_a_sampler_is_written_as_the_webui_names_it(sampler: str, written: str) -> None:
    assert written in infotext(a_spec(sampler=sampler), SHA256)


@pytest.mark.parametrize(("scale", "written"), [(7, "7"), (7.5, "7.5"), (1.2345678, "1.2345678"), (0, "0")])
def test_the_guidance_scale_is_written_in_full(scale: float, written: str) -> None:
    assert read(infotext(a_spec(guidance_scale=scale), SHA256))["CFG scale"] == written


@pytest.mark.parametrize("name", ["a,b", "sd: v1", 'the "best", really', "two\nlines"])
def test_a_name_that_would_break_the_line_is_quoted(name: str) -> None:
    text = infotext(a_spec(checkpoint=name), SHA256)
    assert f"Model: {json.dumps(name)}, RNG" in text
    assert read(text)["Model"] == name


@given(prompt=WORDS, negative=WORDS, seed=st.integers(0, 2**32 - 1), steps=st.integers(1, 150))
def test_what_was_written_is_read_back(prompt: str, negative: str, seed: int, steps: int) -> None:
    spec = a_spec(prompt=prompt, negative_prompt=negative, seed=seed, num_inference_steps=steps)
    found = read(infotext(spec, SHA256))
    assert (found["prompt"], found["negative"]) == (prompt, negative)
    assert (found["Seed"], found["Steps"], found["Size"]) == (str(seed), str(steps), "512x512")
