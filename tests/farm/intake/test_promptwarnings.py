"""Warnings name the rows that they are about."""

import pytest

from farm.intake.promptwarnings import RowTexts, warnings_of_rows
from farm.intake.unfold import expand
from farm.spec.budget import Allowance, Budget
from tests.factories import LIBRARY, a_request

UNCLOSED = "1 bracket is never closed: the weight holds to the end of the prompt"
PLENTY = 10**9


def warnings(*prompts: str, signs: int = PLENTY) -> list[str]:
    budget = Budget()
    budget.signs = Allowance(signs, "", "")
    said = (RowTexts(row, prompt, "") for row, prompt in enumerate(prompts))
    return list(warnings_of_rows(said, len(prompts), budget, lambda _text, _base: ()))


def test_the_only_row_of_a_request_is_not_named() -> None:
    assert warnings("(a") == [UNCLOSED]


@pytest.mark.parametrize(
    ("prompts", "named"),
    [
        (["a", "(a", "b"], "row 2"),
        (["(a", "b", "(c"], "rows 1 and 3"),
        (["(a", "b", "(c", "(d"], "rows 1, 3 and 4"),
        (["a", *["(a"] * 43], "rows 2, 3 and 41 more"),
        (["(a", "(b"], "every row"),
    ],
)
def test_rows_with_the_same_warning_are_named_together(prompts: list[str], named: str) -> None:
    assert warnings(*prompts) == [f"{named}: {UNCLOSED}"]


def test_different_warnings_name_their_own_rows() -> None:
    first, second = warnings("(a", "b", "a | b")
    assert (first, second.partition(":")[0]) == (f"row 1: {UNCLOSED}", "row 3")


def test_a_row_is_named_once_however_many_images_it_has() -> None:
    request = a_request(prompts=["(a {b|c}", "d"], images_per_prompt=20)
    assert expand(request, LIBRARY).warnings == (f"row 1: {UNCLOSED}",)


def test_a_negative_prompt_warns_for_every_row_that_has_it() -> None:
    request = a_request(prompts=["a", "b"], negative_prompt="(fog")
    assert expand(request, LIBRARY).warnings == (f"every row: {UNCLOSED}",)


def test_very_many_warnings_are_cut_with_a_note_that_there_are_more() -> None:
    found = warnings(*(f"<what:number{row}>" for row in range(100)))
    assert (len(found), found[-1]) == (21, "There are more warnings than these")


def test_prompts_that_were_not_checked_for_warnings_are_reported() -> None:
    assert (
        warnings("(a", "(b", "(c", signs=2)[-1] == "The prompts from row 3 on were not looked through for warnings"
    )
