"""Requests that are small and make much work: each is refused with what it would cost, before it costs that."""

from collections.abc import Callable
from contextlib import suppress
from itertools import combinations
from string import ascii_lowercase
from typing import Any
from urllib.parse import quote_plus

import pytest
from flask.testing import FlaskClient

from farm.errors import InvalidRequest
from farm.intake.library import KnownAddon, KnownCheckpoint, Library
from farm.intake.promptfiles.recognise import no_prompts
from farm.intake.request import parse_request
from farm.intake.unfold import JobLimits, expand
from farm.prompts.styles import PromptStyle
from farm.prompts.template import build_choice
from farm.sheets.layout import Figure, Sheet, TooLarge
from farm.spec.families import FAMILIES
from tests.costs import Meter
from web.guard.limits import MAX_FORM_TEXT_BYTES, MAX_JOB_BYTES

LIBRARY = Library(
    checkpoints={"demo": KnownCheckpoint(1, "demo", FAMILIES["sd15"], "a" * 64)},
    loras={"ink": KnownAddon("ink", "sd15", "d" * 64)},
    styles={name: PromptStyle(name, "{prompt}, {prompt}", "") for name in map(str, range(20))},
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
        expand(parse_request({"checkpoint": "demo", "seed": 1, **fields}), LIBRARY, JobLimits(images=100_000))
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
    "a hundred thousand kinds of batch": (
        "are of 20,001 kinds or more",
        {"prompts": ["x"], "axes": [{"field": "size", "values": [f"{64 + 8 * n}x64" for n in range(1_000)]},
                                    {"field": "num_inference_steps", "values": list(range(1, 101))}]},
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
    with costs.at_most(seconds=12, mebibytes=200):
        assert message in refusal(**fields)


@pytest.mark.parametrize("sign", ["[a|b]", "(a"])
def test_prompts_full_of_syntax_are_checked_for_warnings_only_up_to_a_bound(sign: str, costs: Meter) -> None:
    request = parse_request({"checkpoint": "demo", "seed": 1, "dynamic_prompts": "off", "prompts": many(sign)})
    with costs.at_most(seconds=15, mebibytes=200):
        unfolding = expand(request, LIBRARY, JobLimits(images=100_000))
    assert unfolding.images == 3_000
    assert "were not looked through" in unfolding.warnings[-1]


def test_a_job_of_all_the_images_that_are_allowed_is_within_every_budget(costs: Meter) -> None:
    prompt = "a {red|blue} {cat|dog} by __a*z__, " + "masterpiece, (best quality:1.2), <lora:ink:1> " * 6
    request = parse_request({"checkpoint": "demo", "prompts": [prompt] * 10, "images_per_prompt": 500})
    with costs.at_most(seconds=10, mebibytes=100):
        assert expand(request, LIBRARY, JobLimits(images=5_000)).images == 5_000


def a_list_of(value: bytes) -> bytes:
    """A body of as many of these values as it has room for."""
    return b'{"prompts": [' + (value + b",") * ((MAX_JOB_BYTES - 1_000) // (len(value) + 1)) + value + b"]}"


@pytest.mark.parametrize("value", [b"[]", b"{}", b"1.5", b'"ab"', b'{"a":1}'])
def test_a_body_of_millions_of_values_is_refused_unread(value: bytes, client: FlaskClient, costs: Meter) -> None:
    body = a_list_of(value)
    with costs.at_most(seconds=8, mebibytes=200):
        answer = client.post("/api/v1/jobs", data=body, content_type="application/json")
    assert answer.status_code == 413
    assert "2,000,000 values" in answer.json["detail"]


def test_a_large_job_of_prompts_full_of_commas_is_read(client: FlaskClient) -> None:
    body = a_list_of(b'"' + b"a, " * 100 + b'\\", b"')
    answer = client.post("/api/v1/jobs", data=body, content_type="application/json")
    assert (answer.status_code, body.count(b",") > 2_000_000) == (422, True)
    assert "at most 100000 items" in answer.text


def in_parts(text: str) -> tuple[bytes, str]:
    """A form of one field, as a browser sends it, and its media type."""
    head = b'--x\r\nContent-Disposition: form-data; name="prompts"\r\n\r\n'
    return head + text.encode() + b"\r\n--x--\r\n", "multipart/form-data; boundary=x"


def in_one(text: str) -> tuple[bytes, str]:
    return f"prompts={quote_plus(text)}".encode(), "application/x-www-form-urlencoded"


@pytest.mark.parametrize("form", [in_one, in_parts])
def test_a_form_of_28_mebibytes_of_text_is_refused_and_not_shown_again(
    form: Callable[[str], tuple[bytes, str]], client: FlaskClient, costs: Meter
) -> None:
    body, kind = form("a < b\n" * (28 * 2**20 // 6))
    with costs.at_most(seconds=5, mebibytes=200):
        answer = client.post("/submit", data=body, content_type=kind)
    assert (answer.status_code, len(answer.data) < 10_000) == (413, True)
    assert f"{MAX_FORM_TEXT_BYTES:,} bytes" in answer.text


def test_a_form_with_a_mistake_in_each_of_thousands_of_lines_is_shown_soon(
    client: FlaskClient, costs: Meter
) -> None:
    body, kind = in_parts("\0x\n" * 9_999)
    with costs.at_most(seconds=8, mebibytes=200):
        answer = client.post("/submit", data=body, content_type=kind)
    assert answer.status_code == 422
    assert "prompt 9999: must not contain a NUL character" in answer.text


def test_a_data_uri_with_megabytes_of_parameters_is_refused_at_little_cost(
    client: FlaskClient, costs: Meter
) -> None:
    job = {"mode": "img2img", "prompts": ["x"], "image": "data:image/a" + ";a" * (15 * 2**20)}
    with costs.at_most(seconds=6, mebibytes=400):
        answer = client.post("/api/v1/jobs", json=job)
    assert answer.status_code == 422
    assert "not one like `data:image/png;base64,...`" in answer.text


def test_labels_of_ten_thousand_letters_are_wrapped_as_far_as_they_are_seen(costs: Meter) -> None:
    labels = ["word " * 2_000] * 150
    with costs.at_most(seconds=3, mebibytes=400), suppress(TooLarge):
        Figure("a grid " * 1_000, [Sheet("", labels, labels)], (512, 512))


def test_wildcards_are_remembered_only_as_far_as_there_is_room(costs: Meter) -> None:
    with costs.at_most(seconds=30, mebibytes=250):
        for start in range(20):
            build_choice(tuple(f"line {number}" for number in range(start, 100_000)))


@pytest.mark.parametrize(
    ("line", "seconds"), [("- style: ink", 2), ("- prompt: a", 8), ("prompt,steps", 8), ("--prompt a", 12)]
)
def test_lines_that_were_pasted_are_looked_through_soon(line: str, seconds: float, costs: Meter) -> None:
    text = f"{line}\n" * (2**21 // len(line))
    with costs.at_most(seconds=seconds, mebibytes=400):
        no_prompts(text)


def test_a_form_with_thousands_of_lines_of_another_format_names_the_first(client: FlaskClient) -> None:
    answer = client.post("/submit", data={"prompts": "--prompt a\n" * 5_000, "checkpoint": "demo"})
    assert (answer.status_code, answer.text.count("begins with an option")) == (422, 20)
    assert "4,980 more lines are no prompts" in answer.text
