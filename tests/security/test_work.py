"""Requests that are small and make much work: each is refused with what it would cost, before it costs that."""

from itertools import combinations
from string import ascii_lowercase
from typing import Any

import pytest

from farm.errors import InvalidRequest
from farm.expand import Limits, expand
from farm.families import FAMILIES
from farm.library import KnownAddon, KnownCheckpoint, Library
from farm.prompts.styles import Style
from farm.requests import parse_request
from tests.costs import Meter

LIBRARY = Library(
    checkpoints={"demo": KnownCheckpoint(1, "demo", FAMILIES["sd15"], "a" * 64)},
    loras={"ink": KnownAddon("ink", "sd15", "d" * 64)},
    styles={name: Style(name, "{prompt}, {prompt}", "") for name in map(str, range(20))},
    wildcards={
        ascii_lowercase: [f"line {number}" for number in range(20_000)],
        "100": ["{a|b}" * 100],
        "x10": ["__100__" * 10],
        "x100": ["__x10__" * 100],
    },
)


def refusal(**fields: Any) -> str:
    """What is said of a request for a job on a farm as it comes."""
    with pytest.raises(InvalidRequest) as refused:
        expand(parse_request({"checkpoint": "demo", "seed": 1, **fields}), LIBRARY, Limits(images=100_000))
    return str(refused.value)


def many(text: str, rows: int = 3_000) -> list[str]:
    """As many different rows of about ten thousand characters as a request has room for."""
    return [text * (9_900 // len(text)) + str(row) for row in range(rows)]


def nested(depth: int) -> str:
    """Choices that can be drawn in 40,320 ways at each depth, all of them alike."""
    return nested(depth - 1).join(("{8$$$$|||||||", "}")) if depth else ""


ATTACKS: dict[str, tuple[str, dict[str, Any]]] = {
    "a letter that is replaced by ten thousand": (
        "would make a prompt of 98,010,000 characters; at most 100,000 are allowed",
        {"prompts": ["a" * 9_900], "axes": [{"field": "prompt_replace", "values": ["a", *("b" * 9_900,) * 40]}]},
    ),
    "nothing that is replaced by ten thousand": (
        "must not be empty",
        {"prompts": ["a" * 9_900], "axes": [{"field": "prompt_replace", "values": ["", "b" * 9_900]}]},
    ),
    "braces in braces": (
        "would draw 1.532 million choices or more; 1.5 million are allowed",
        {"prompts": [nested(55)], "dynamic_prompts": "all"},
    ),
    "two thousand choices for each of a thousand images": (
        "would draw 2 million choices or more; 1.5 million are allowed",
        {"prompts": ["{a|b}" * 2_000], "images_per_prompt": 1_000},
    ),
    "all combinations of two thousand choices": (
        "prompts or more; at most 100,000 are allowed",
        {"prompts": ["{a|b}" * 2_000], "dynamic_prompts": "all"},
    ),
    "wildcards in wildcards": (
        "unfolds into more than 100,000 characters",
        {"prompts": ["__x100__"]},
    ),
    "wildcards of many choices": (
        "million choices or more; 1.5 million are allowed",
        {"prompts": ["__x10__"], "images_per_prompt": 10_000},
    ),
    "two of a long wildcard for each image": (
        "million choices or more; 1.5 million are allowed",
        {"prompts": [f"{{2$$__{ascii_lowercase}__}}"], "images_per_prompt": 10_000},
    ),
    "wildcards by ever other names": (
        "would gather 2 million lines of wildcards or more; 2 million are allowed",
        {"prompts": ["".join(f"__*{a}*{b}*__" for a, b in combinations(ascii_lowercase, 2))]},
    ),
    "styles that hold the prompt twice": (
        "would make a prompt of 163,838 characters; at most 100,000 are allowed",
        {"prompts": ["a castle"], "styles": list(map(str, range(20)))},
    ),
    "long prompts of many images": (
        "would store 300 million characters of prompts or more with its images; 256 million are allowed",
        {"prompts": ["x" * 10_000] * 10, "images_per_prompt": 10_000},
    ),
    "long prompts at many points": (
        "would make 64.01 million characters of prompts or more; 64 million are allowed",
        {"prompts": ["x" * 10_000], "axes": [{"field": "seed", "values": list(range(1_000))}] * 1
         + [{"field": "clip_skip", "values": list(range(1, 13))}]},
    ),
    "options": ("have 14.85 million braces, bars and wildcards", {"prompts": [f"{{{row}}}" for row in many("a|")]}),
    "braces": ("have 14.85 million braces, bars and wildcards", {"prompts": many("{}")}),
    "what might be wildcards": ("have 9.9 million braces, bars and wildcards", {"prompts": many("__a")}),
    "tags": ("hold 5.94 million signs < of tags", {"prompts": many("<a:b>")}),
    "LoRAs": ("hold 2.475 million signs < of tags", {"prompts": many("<lora:ink:0>")}),
    "wildcards of many stars": ("at most 200 letters and 4 times *", {"prompts": many("__*a*b*c*d*e*__", 1)}),
    "names that nobody knows": (
        "there may be more mistakes than these",
        {"prompts": [{"prompt": "x", "styles": [f"{row}-{n}" for n in range(50)]} for row in range(1_000)]},
    ),
}  # fmt: skip


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_request_that_multiplies_is_refused_with_the_number(attack: str, costs: Meter) -> None:
    message, fields = ATTACKS[attack]
    with costs.at_most(seconds=8, mebibytes=200):
        assert message in refusal(**fields)


@pytest.mark.parametrize("sign", ["[a|b]", "(a"])
def test_prompts_of_nothing_but_signs_are_looked_through_no_further_than_pays(sign: str, costs: Meter) -> None:
    request = parse_request({"checkpoint": "demo", "seed": 1, "dynamic_prompts": "off", "prompts": many(sign)})
    with costs.at_most(seconds=15, mebibytes=200):
        unfolding = expand(request, LIBRARY, Limits(images=100_000))
    assert unfolding.images == 3_000
    assert "were not looked through" in unfolding.warnings[-1]


def test_a_job_of_all_the_images_that_are_allowed_is_within_every_budget(costs: Meter) -> None:
    prompt = "a {red|blue} {cat|dog} by __a*z__, " + "masterpiece, (best quality:1.2), <lora:ink:1> " * 6
    request = parse_request({"checkpoint": "demo", "prompts": [prompt] * 10, "images_per_prompt": 500})
    with costs.at_most(seconds=10, mebibytes=100):
        assert expand(request, LIBRARY, Limits(images=5_000)).images == 5_000
