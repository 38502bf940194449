"""What a prompt says at which step."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm.prompts.schedule import PromptStage, parses, schedule
from tests.farm.prompts.samples import PLAIN, SYNTAX


def stages(text: str, steps: int = 10) -> list[tuple[int, str]]:
    return [(stage.until_step, stage.text) for stage in schedule(text, steps)]


def second_pass(text: str) -> list[tuple[int, str]]:
    """Through 8 steps, after a first pass of 20."""
    return [(stage.until_step, stage.text) for stage in schedule(text, 8, first_pass_steps=20)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", [(10, "")]),
        ("fox", [(10, "fox")]),
        ("a [cat:dog:0.5]", [(5, "a cat"), (10, "a dog")]),
        ("a [cat:dog:3]", [(3, "a cat"), (10, "a dog")]),
        ("a [cat:dog: 3 ]", [(3, "a cat"), (10, "a dog")]),
        ("a [cat:dog:.25]", [(2, "a cat"), (10, "a dog")]),
        ("[hat:4] on", [(4, " on"), (10, "hat on")]),
        ("[hat::4] off", [(4, "hat off"), (10, " off")]),
        ("[::4]x", [(10, "x")]),
        ("[:4]x", [(10, "x")]),
        ("[3:4]", [(4, ""), (10, "3")]),
        # Never, and from the start.
        ("[cat:dog:1.0]", [(10, "cat")]),
        ("[cat:dog:1.5]", [(10, "cat")]),
        ("[cat:dog:10]", [(10, "cat")]),
        ("[cat:dog:99]", [(10, "cat")]),
        ("[cat:dog:1e999]", [(10, "cat")]),
        ("[cat:dog:0]", [(10, "dog")]),
        ("[cat:dog:0.0]", [(10, "dog")]),
        ("[cat:dog:0.05]", [(10, "dog")]),
        ("[cat:dog:-2]", [(10, "dog")]),
        # One within the other, and several.
        ("[[a:b:0.3]:c:0.6]", [(3, "a"), (6, "b"), (10, "c")]),
        ("[a:[b:c:8]:2]", [(2, "a"), (8, "b"), (10, "c")]),
        ("[a:b:2] [c:d:6]", [(2, "a c"), (6, "b c"), (10, "b d")]),
        ("[a:b:2] [c:d:2]", [(2, "a c"), (10, "b d")]),
        ("[[a|b]:c:2]", [(1, "a"), (2, "b"), (10, "c")]),
        # Attention stays for later, wherever it stands.
        ("([cat:dog:0.5]:1.3)", [(5, "(cat:1.3)"), (10, "(dog:1.3)")]),
        ("[(cat:1.2):[dog]:5]", [(5, "(cat:1.2)"), (10, "[dog]")]),
        ("[less] (more) (this:1.3)", [(10, "[less] (more) (this:1.3)")]),
        # Brackets that make nothing.
        ("[a:b]", [(10, "[a:b]")]),
        ("[a:b:c:3]", [(10, "[a:b:c:3]")]),
        ("[a:(3)]", [(10, "[a:(3)]")]),
        ("time: 10:30", [(10, "time: 10:30")]),
        ("(a:b:c)", [(10, "(a:b:c)")]),
        ("a [b", [(10, "a [b")]),
        ("a b] c)", [(10, "a b] c)")]),
        # What is not well formed opens all around it; what is, within and behind it, still counts.
        ("[a [b:3]", [(3, "[a "), (10, "[a b")]),
        ("((a][:b [c:3]", [(3, "((a][:b "), (10, "((a][:b c")]),
        ("[x (a:b:c) y:3]", [(10, "[x (a:b:c) y:3]")]),
        ("[a (b] [c:3]", [(3, "[a (b] "), (10, "[a (b] c")]),
        # Escapes stay too, and keep what they escape from counting.
        (r"\[cat:dog:3]", [(10, r"\[cat:dog:3]")]),
        (r"[cat\:dog:3]", [(3, ""), (10, r"cat\:dog")]),
        (r"a \| b", [(10, r"a \| b")]),
        ("[a:b:3]\\", [(3, "a\\"), (10, "b\\")]),
        ("[a\nb:c\n:3]", [(3, "a\nb"), (10, "c\n")]),
    ],
)
def test_a_schedule_changes_the_text_after_so_many_steps(text: str, expected: list[tuple[int, str]]) -> None:
    assert stages(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[a|b]", [(1, "a"), (2, "b"), (3, "a"), (4, "b")]),
        ("[a|b|c]x", [(1, "ax"), (2, "bx"), (3, "cx"), (4, "ax")]),
        ("[fe|]male", [(1, "female"), (2, "male"), (3, "female"), (4, "male")]),
        ("[a||]", [(1, "a"), (3, ""), (4, "a")]),
        ("[a|a]", [(4, "a")]),
        ("[a|(b:1.1)]", [(1, "a"), (2, "(b:1.1)"), (3, "a"), (4, "(b:1.1)")]),
        ("[a|[b|c]]", [(1, "a"), (2, "c"), (3, "a"), (4, "c")]),
        ("[a|[b:c:3]]", [(1, "a"), (2, "b"), (3, "a"), (4, "c")]),
        ("[a|b] [c|d|e]", [(1, "a c"), (2, "b d"), (3, "a e"), (4, "b c")]),
    ],
)
def test_alternation_takes_turns_step_by_step(text: str, expected: list[tuple[int, str]]) -> None:
    assert stages(text, steps=4) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[a:b:0.5]", [(8, "b")]),
        ("[a:b:1.0]", [(8, "b")]),
        ("[a:b:1.5]", [(4, "a"), (8, "b")]),
        ("[a:b:2.0]", [(8, "a")]),
        ("[a:b:15]", [(8, "b")]),
        ("[a:b:20]", [(8, "b")]),
        ("[a:b:25]", [(5, "a"), (8, "b")]),
        ("[a:b:28]", [(8, "a")]),
    ],
)
def test_a_second_pass_counts_on(text: str, expected: list[tuple[int, str]]) -> None:
    assert second_pass(text) == expected


@pytest.mark.parametrize(
    "text", ["a | b", "[a|b] c | d", "(a|b)", "[a|b", "[a|b:0.5]", "[a:b|c:5]", "[a|(b|c)]", "|"]
)
def test_a_bar_that_parts_no_options_does_not_parse(text: str) -> None:
    assert not parses(text)
    assert schedule(text, 10) == (PromptStage(10, text),)


@given(SYNTAX, st.integers(1, 150), st.none() | st.integers(1, 150))
def test_stages_rise_and_end_with_the_pass(text: str, steps: int, first_pass_steps: int | None) -> None:
    ends = [stage.until_step for stage in schedule(text, steps, first_pass_steps=first_pass_steps)]
    assert ends == sorted(set(ends))
    assert (ends[0] >= 1, ends[-1]) == (True, steps)


@given(SYNTAX, st.integers(1, 20))
def test_stages_that_follow_one_another_differ(text: str, steps: int) -> None:
    texts = [stage.text for stage in schedule(text, steps)]
    assert all(one != next_one for one, next_one in itertools.pairwise(texts))


@given(PLAIN, PLAIN)
def test_any_two_texts_can_be_switched_between(before: str, after: str) -> None:
    expected = ((PromptStage(3, before), PromptStage(7, after))) if before != after else (PromptStage(7, before),)
    assert schedule(f"[{before}:{after}:3]", 7) == expected
