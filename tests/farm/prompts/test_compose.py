"""Sub-prompts at AND, with their weights."""

import pytest
from hypothesis import given

from farm.prompts.attention import LARGEST_WEIGHT
from farm.prompts.compose import SubPrompt, compose
from tests.farm.prompts.samples import PLAIN, SYNTAX


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", [SubPrompt("", 1)]),
        ("a castle", [SubPrompt("a castle", 1)]),
        ("a AND b", [SubPrompt("a", 1), SubPrompt("b", 1)]),
        ("a AND b:0.5", [SubPrompt("a", 1), SubPrompt("b", 0.5)]),
        ("a :2 AND b : -0.5 ", [SubPrompt("a", 2), SubPrompt("b", -0.5)]),
        ("a:1. AND b:+.25 AND c:3", [SubPrompt("a", 1), SubPrompt("b", 0.25), SubPrompt("c", 3)]),
        ("a\nAND\nb", [SubPrompt("a", 1), SubPrompt("b", 1)]),
        ("a AND AND b", [SubPrompt("a", 1), SubPrompt("", 1), SubPrompt("b", 1)]),
        ("a,AND,b", [SubPrompt("a,", 1), SubPrompt(",b", 1)]),
        ("SAND and HANDS", [SubPrompt("SAND and HANDS", 1)]),
        # Without AND as well.
        ("a castle:0.5", [SubPrompt("a castle", 0.5)]),
        ("at 10:30", [SubPrompt("at 10", 30)]),
        ("a: castle", [SubPrompt("a: castle", 1)]),
        ("a:0.5:", [SubPrompt("a:0.5:", 1)]),
        ("a:1.5.2", [SubPrompt("a:1.5.2", 1)]),
        ("(a:1.2)", [SubPrompt("(a:1.2)", 1)]),
        ("a:" + "9" * 400, [SubPrompt("a", LARGEST_WEIGHT)]),
    ],
)
def test_a_prompt_is_composed_of_parts(text: str, expected: list[SubPrompt]) -> None:
    assert list(compose(text)) == expected


@given(PLAIN)
def test_plain_text_is_one_part_as_it_stands(text: str) -> None:
    assert compose(text) == (SubPrompt(text, 1.0),)


@given(SYNTAX)
def test_texts_joined_by_and_have_the_parts_of_both(text: str) -> None:
    assert len(compose(f"{text} AND {text}")) == 2 * len(compose(text))
