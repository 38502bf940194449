"""The tags that call LoRAs."""

import pytest
from hypothesis import given

from farm.prompts.attention import LARGEST_WEIGHT
from farm.prompts.networks import NetworkTag, extract_networks
from tests.farm.prompts.samples import PLAIN, SYNTAX


@pytest.mark.parametrize(
    ("tag", "expected"),
    [
        ("<lora:ink>", NetworkTag("ink", 1)),
        ("<lora:ink:0.8>", NetworkTag("ink", 0.8)),
        ("<lyco:ink:.5>", NetworkTag("ink", 0.5)),
        ("<lora:ink:-1>", NetworkTag("ink", -1)),
        ("<lora: ink : 0.8 >", NetworkTag("ink", 0.8)),
        ("<lora:ink (v2)_final-3.1:0.8>", NetworkTag("ink (v2)_final-3.1", 0.8)),
        ("<lora:ink:0.8:0.8>", NetworkTag("ink", 0.8)),
        ("<lora:ink:0.5:0.8>", NetworkTag("ink", 0.8, text_weight=0.5)),
        ("<lora:ink:te=0.5>", NetworkTag("ink", 0.5)),
        ("<lora:ink:unet=0.5>", NetworkTag("ink", 0.5, text_weight=1)),
        ("<lora:ink:te=0:unet=0.8>", NetworkTag("ink", 0.8, text_weight=0)),
        ("<lora:ink:0.5:unet=0.8>", NetworkTag("ink", 0.8, text_weight=0.5)),
    ],
)
def test_a_tag_calls_a_lora(tag: str, expected: NetworkTag) -> None:
    assert extract_networks(f"a {tag}fox") == ("a fox", (expected,), ())


@pytest.mark.parametrize(
    ("tag", "why"),
    [
        ("<hypernet:ink:0.8>", "hypernetworks are not rendered here"),
        ("<colour:red>", "there is no kind 'colour', only lora"),
        ("<lora::0.8>", "it names no LoRA"),
        ("<lora:te=0.8>", "it names no LoRA"),
        ("<lora:ink:loud>", "'loud' is not a weight"),
        ("<lora:ink:nan>", "'nan' is not a weight"),
        ("<lora:ink:1e3>", "'1e3' is not a weight"),
        ("<lora:ink:unet=>", "'' is not a weight"),
        ("<lora:ink:5000>", "a weight is at most 1000"),
        ("<lora:ink:1:1:64>", "'64' means nothing here; known are te= and unet="),
        ("<lora:ink:dyn=64>", "'dyn' means nothing here; known are te= and unet="),
    ],
)
def test_a_tag_that_cannot_be_followed_is_left_out_with_a_warning(tag: str, why: str) -> None:
    assert extract_networks(f"a {tag}fox") == ("a fox", (), (f"{tag} is left out: {why}",))


@pytest.mark.parametrize("text", ["a < b > c", "<lora>", "<lora:>", "<:ink>", "<lora:ink", "1 <2: 3", "<3"])
def test_text_that_is_no_tag_stays_as_it_is(text: str) -> None:
    assert extract_networks(text) == (text, (), ())


def test_loras_come_in_the_order_of_their_first_call_and_add_up() -> None:
    _, tags, _ = extract_networks("<lora:b:0.5> x <lora:a> <lora:b:0.25>")
    assert tags == (NetworkTag("b", 0.75), NetworkTag("a", 1))


def test_weights_of_the_text_encoder_add_up_apart() -> None:
    _, tags, _ = extract_networks("<lora:b:0.5:1> <lora:b:0.25>")
    assert tags == (NetworkTag("b", 1.25, text_weight=0.75),)


@given(PLAIN)
def test_plain_text_calls_no_lora(text: str) -> None:
    assert extract_networks(text) == (text, (), ())


@given(SYNTAX)
def test_every_tag_is_followed_or_warned_of(text: str) -> None:
    said, tags, warnings = extract_networks(f"{text} <lora:ink:2> <what:ever>")
    assert "<lora:ink:2>" not in said
    assert "ink" in {tag.name for tag in tags}
    assert "<what:ever> is left out: there is no kind 'what', only lora" in warnings


@given(SYNTAX)
def test_no_lora_weighs_more_than_the_largest_for_each_call(text: str) -> None:
    assert all(abs(tag.weight) <= LARGEST_WEIGHT for tag in extract_networks(text)[1])
