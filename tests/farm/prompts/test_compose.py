"""Sub-prompts at AND, with their weights."""

import pytest
from hypothesis import given

from farm.prompts.attention import LARGEST_WEIGHT
from farm.prompts.compose import Part, compose
from tests.farm.prompts.samples import PLAIN, SYNTAX


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", [Part("", 1)]),
        ("a castle", [Part("a castle", 1)]),
        ("a AND b", [Part("a", 1), Part("b", 1)]),
        ("a AND b:0.5", [Part("a", 1), Part("b", 0.5)]),
        ("a :2 AND b : -0.5 ", [Part("a", 2), Part("b", -0.5)]),
        ("a:1. AND b:+.25 AND c:3", [Part("a", 1), Part("b", 0.25), Part("c", 3)]),
        ("a\nAND\nb", [Part("a", 1), Part("b", 1)]),
        ("a AND AND b", [Part("a", 1), Part("", 1), Part("b", 1)]),
        ("a,AND,b", [Part("a,", 1), Part(",b", 1)]),
        ("SAND and HANDS", [Part("SAND and HANDS", 1)]),
        # Without AND as well.
        ("a castle:0.5", [Part("a castle", 0.5)]),
        ("at 10:30", [Part("at 10", 30)]),
        ("a: castle", [Part("a: castle", 1)]),
        ("a:0.5:", [Part("a:0.5:", 1)]),
        ("a:1.5.2", [Part("a:1.5.2", 1)]),
        ("(a:1.2)", [Part("(a:1.2)", 1)]),
        ("a:" + "9" * 400, [Part("a", LARGEST_WEIGHT)]),
    ],
)
def test_a_prompt_is_composed_of_parts(text: str, expected: list[Part]) -> None:
    assert list(compose(text)) == expected


@given(PLAIN)
def test_plain_text_is_one_part_as_it_stands(text: str) -> None:
    assert compose(text) == (Part(text, 1.0),)


@given(SYNTAX)
def test_there_is_a_part_more_than_there_are_ands(text: str) -> None:
    assert len(compose(f"{text} AND {text}")) == 2 * len(compose(text))
