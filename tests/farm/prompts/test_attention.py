"""How much each word of a prompt counts."""

import itertools

import pytest
from hypothesis import given

from farm.prompts.attention import LARGEST_WEIGHT, Fragment, count_unclosed, find_large_weights, weigh
from tests.farm.prompts.samples import PLAIN, SYNTAX

MORE, LESS = 1.1, 1 / 1.1


def fragments(text: str) -> list[tuple[str, float]]:
    (section,) = weigh(text)
    return [(fragment.text, pytest.approx(fragment.weight)) for fragment in section]


def sections(text: str) -> list[str]:
    return ["".join(fragment.text for fragment in section) for section in weigh(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", [("", 1)]),
        ("a red fox", [("a red fox", 1)]),
        ("a (red) fox", [("a ", 1), ("red", MORE), (" fox", 1)]),
        ("a [red] fox", [("a ", 1), ("red", LESS), (" fox", 1)]),
        ("a (red:1.5) fox", [("a ", 1), ("red", 1.5), (" fox", 1)]),
        ("(red: 1.5 )", [("red", 1.5)]),
        ("(red:.5)", [("red", 0.5)]),
        ("(red:2.)", [("red", 2)]),
        ("(red:+2)", [("red", 2)]),
        ("(red:-1)", [("red", -1)]),
        ("(red:0)", [("red", 0)]),
        ("((red))", [("red", 1.21)]),
        ("(((red)))", [("red", 1.331)]),
        ("[[red]]", [("red", 1 / 1.21)]),
        ("(a [b] c:1.5)", [("a ", 1.5), ("b", 1.5 / 1.1), (" c", 1.5)]),
        ("((a:1.5) b:2)", [("a", 3), (" b", 2)]),
        ("(a)(b)", [("ab", MORE)]),
        ("a () b", [("a  b", 1)]),
        ("()", [("", 1)]),
        ("(a, (b), c: 1.2)", [("a, ", 1.2), ("b", 1.32), (", c", 1.2)]),
        # Not closed: to the end. Not opened: text.
        ("a (b c", [("a ", 1), ("b c", MORE)]),
        ("a ((b) c", [("a ", 1), ("b", 1.21), (" c", MORE)]),
        ("a [b", [("a ", 1), ("b", LESS)]),
        ("a b) c]", [("a b) c]", 1)]),
        ("b:1.3) c", [("b:1.3) c", 1)]),
        # Round and square brackets may cross.
        ("(a [b) c]", [("a ", MORE), ("b", 1), (" c", LESS)]),
        # Colons that weigh nothing.
        ("a: b", [("a: b", 1)]),
        ("(a: b)", [("a: b", MORE)]),
        ("(a:b:1.3)", [("a:b", 1.3)]),
        ("[a:1.3]", [("a:1.3", LESS)]),
        ("(a:1.2.3)", [("a:1.2.3", MORE)]),
        ("(a:.)", [("a:.", MORE)]),
        (":)", [(":)", 1)]),
        # Escapes.
        (r"\(a\)", [("(a)", 1)]),
        (r"\[a\]", [("[a]", 1)]),
        (r"(a\) b:1.3)", [("a) b", 1.3)]),
        (r"fox \\(red)", [("fox \\", 1), ("red", MORE)]),
        (r"a\b\|c", [("ab|c", 1)]),
        ("a\\", [("a", 1)]),
        # Other syntax is none of this module's business.
        ("{a|b} <x:y> __z__", [("{a|b} <x:y> __z__", 1)]),
    ],
)
def test_brackets_weigh_what_they_hold(text: str, expected: list[tuple[str, float]]) -> None:
    assert fragments(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a BREAK b", ["a", "b"]),
        ("a\nBREAK\nb", ["a", "b"]),
        ("a,BREAK,b", ["a,", ",b"]),
        ("a BREAK BREAK b", ["a", "", "b"]),
        ("BREAK a", ["", "a"]),
        ("a BREAK", ["a"]),
        ("BREAK", [""]),
        ("a BREAK b BREAK ", ["a", "b"]),
        ("BREAKFAST and OUTBREAK, break", ["BREAKFAST and OUTBREAK, break"]),
        ("a (b) BREAK (c) d", ["a b", "c d"]),
        (r"\(BREAK\)", ["(", ")"]),
    ],
)
def test_break_begins_a_section(text: str, expected: list[str]) -> None:
    assert sections(text) == expected


def test_a_weight_holds_across_a_break() -> None:
    assert weigh("(a BREAK b:1.3)") == ((Fragment("a", 1.3),), (Fragment("b", 1.3),))


@pytest.mark.parametrize("text", ["(" * 9000 + "a", "(a:" + "9" * 400 + ")", "((a:1e5:999999):2)"])
def test_no_weight_is_larger_than_the_largest(text: str) -> None:
    assert weigh(text)[0][0].weight == LARGEST_WEIGHT


def test_equally_many_round_and_square_brackets_cancel_out() -> None:
    assert weigh("(" * 4000 + "[" * 4000 + "a")[0][0].weight == pytest.approx(1)


def test_brackets_left_open_are_counted() -> None:
    assert [count_unclosed(text) for text in ("(a)", "((a)", "(a]", r"\(a", "([a")] == [0, 1, 1, 0, 2]


def test_weights_beyond_the_bound_are_reported() -> None:
    assert find_large_weights("(a:1.3) (b:2000) (c:-3000) d:4000)") == (2000, -3000)


@given(PLAIN)
def test_plain_text_weighs_one_and_survives(text: str) -> None:
    assert weigh(text) == ((Fragment(text, 1.0),),)


@given(SYNTAX)
def test_every_section_has_text_or_one_empty_fragment(text: str) -> None:
    for section in weigh(text):
        assert section == (Fragment("", 1.0),) or all(fragment.text for fragment in section)


@given(SYNTAX)
def test_neighbours_differ_in_weight_and_no_weight_is_out_of_bounds(text: str) -> None:
    for section in weigh(text):
        weights = [fragment.weight for fragment in section]
        assert all(one != next_one for one, next_one in itertools.pairwise(weights))
        assert all(abs(weight) <= LARGEST_WEIGHT for weight in weights)
