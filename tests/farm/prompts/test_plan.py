"""A whole prompt, planned for the renderer."""

import math
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm.prompts.attention import Fragment
from farm.prompts.plan import PlannedStage, PlannedSubPrompt, plan, plan_negative, warnings_of, warnings_of_negative
from tests.farm.prompts.samples import HOSTILE, PLAIN, SYNTAX


def plain(text: str, steps: int) -> PlannedSubPrompt:
    return PlannedSubPrompt(1.0, (PlannedStage(steps, ((Fragment(text, 1.0),),)),))


def said(part: PlannedSubPrompt) -> list[tuple[int, list[str]]]:
    """Each stage's end, and its sections without their weights."""
    return [
        (stage.until_step, ["".join(fragment.text for fragment in section) for section in stage.sections])
        for stage in part.stages
    ]


def test_a_prompt_may_use_the_whole_language_at_once() -> None:
    parts = plan("a [cat:(dog:1.3):0.5] <lora:ink:0.8>BREAK night AND [fog|mist]:0.5", 4)
    assert [part.weight for part in parts] == [1.0, 0.5]
    assert said(parts[0]) == [(2, ["a cat", "night"]), (4, ["a dog", "night"])]
    assert said(parts[1]) == [(1, ["fog"]), (2, ["mist"]), (3, ["fog"]), (4, ["mist"])]
    assert parts[0].stages[1].sections[0] == (Fragment("a ", 1.0), Fragment("dog", 1.3))


def test_a_second_pass_is_planned_on_its_own_steps() -> None:
    (part,) = plan("[cat:dog:1.5]", 6, first_pass_steps=20)
    assert said(part) == [(3, ["cat"]), (6, ["dog"])]


@pytest.mark.parametrize("text", ["a | (b:1.3)", "(a) AND b | c:0.5", "[a AND b|c]", "x | BREAK [a:b:3]"])
def test_a_schedule_that_does_not_parse_is_taken_as_written_with_a_warning(text: str) -> None:
    assert all(len(part.stages) == 1 for part in plan(text, 8))
    assert len(warnings_of(text)) == 1
    assert "as it is written" in warnings_of(text)[0]


def test_weights_count_although_the_schedule_does_not_parse() -> None:
    (part,) = plan("a | (b:1.3)", 8)
    assert part.stages[0].sections == ((Fragment("a | ", 1.0), Fragment("b", 1.3)),)


def test_a_bar_can_be_escaped() -> None:
    assert plan(r"a \| (b:1.3)", 8)[0].stages[0].sections == ((Fragment("a | ", 1.0), Fragment("b", 1.3)),)
    assert warnings_of(r"a \| (b:1.3)") == ()


def test_a_negative_prompt_has_no_parts() -> None:
    part = plan_negative("blurry AND [grey:dull:2] (bad:1.2):0.5<lora:ink>", 4)
    assert said(part) == [(2, ["blurry AND grey bad:0.5"]), (4, ["blurry AND dull bad:0.5"])]
    assert part.weight == 1.0


def test_a_negative_prompt_whose_schedule_does_not_parse_keeps_its_weights() -> None:
    (stage,) = plan_negative("(a:1.2) | b", 4).stages
    assert stage.sections == ((Fragment("a", 1.2), Fragment(" | b", 1.0)),)


@pytest.mark.parametrize(
    ("text", "warning"),
    [
        ("<hypernet:ink>", "<hypernet:ink> is left out: hypernetworks are not rendered here"),
        ("((a)", "1 bracket is never closed: the weight holds to the end of the prompt"),
        ("((a AND [b", "3 brackets are never closed: the weight holds to the end of the prompt"),
        ("(a:4000)", "a weight is at most 1000, not 4000"),
        ("at 10:30", "the whole prompt weighs 30, because it ends with a colon and a number"),
    ],
)
def test_syntax_that_was_probably_not_meant_is_warned_of(text: str, warning: str) -> None:
    assert warnings_of(text) == (warning,)


def test_a_lora_in_a_negative_prompt_is_warned_of() -> None:
    assert warnings_of_negative("<lora:ink:2> (a") == (
        "<lora:ink> has no effect in a negative prompt",
        "1 bracket is never closed: the weight holds to the end of the prompt",
    )


@given(PLAIN, st.integers(1, 150))
def test_plain_text_is_planned_as_plain_text_without_a_warning(text: str, steps: int) -> None:
    assert plan(text, steps) == (plain(text, steps),)
    assert plan_negative(text, steps) == plain(text, steps)
    assert warnings_of(text) == warnings_of_negative(text) == ()


@given(SYNTAX, st.integers(1, 150), st.none() | st.integers(1, 150))
def test_every_text_has_a_plan_whose_stages_rise_to_the_end(text: str, steps: int, first: int | None) -> None:
    parts = plan(text, steps, first_pass_steps=first)
    assert parts
    for part in (*parts, plan_negative(text, steps, first_pass_steps=first)):
        ends = [stage.until_step for stage in part.stages]
        assert ends == sorted(set(ends))
        assert ends[-1] == steps


@given(SYNTAX)
def test_every_weight_is_a_number_and_every_section_has_a_fragment(text: str) -> None:
    for part in plan(text, 5):
        sections = [section for stage in part.stages for section in stage.sections]
        assert math.isfinite(part.weight)
        assert all(sections)
        assert all(math.isfinite(fragment.weight) for section in sections for fragment in section)


@given(SYNTAX)
def test_every_text_can_be_checked_for_warnings(text: str) -> None:
    assert all(isinstance(warning, str) for warning in (*warnings_of(text), *warnings_of_negative(text)))


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_text_is_planned_in_less_than_a_second(name: str) -> None:
    began = time.process_time()
    plan(HOSTILE[name], 150)
    assert time.process_time() - began < 1


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_text_is_warned_of_in_less_than_a_second(name: str) -> None:
    began = time.process_time()
    warnings_of(HOSTILE[name])
    assert time.process_time() - began < 1
