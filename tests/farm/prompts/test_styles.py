"""Styles, and the files they come in."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm.errors import InvalidRequest
from farm.prompts.styles import PromptStyle, apply_styles, read_styles

INK = PromptStyle("ink", "ink drawing", "colour")
FRAMED = PromptStyle("framed", "a frame around {prompt}, gold", "")


@pytest.mark.parametrize(
    ("styles", "prompt", "negative"),
    [
        ([], "fox ", "blurry"),
        ([INK], "fox, ink drawing", "blurry, colour"),
        ([FRAMED], "a frame around fox , gold", "blurry"),
        ([INK, FRAMED], "a frame around fox, ink drawing, gold", "blurry, colour"),
        ([FRAMED, INK], "a frame around fox , gold, ink drawing", "blurry, colour"),
        ([PromptStyle("twice", "{prompt} and {prompt}", "not {prompt}")], "fox  and fox ", "not blurry"),
        ([PromptStyle("nothing", " ", "")], "fox ", "blurry"),
    ],
)
def test_styles_are_put_around_a_prompt(styles: list[PromptStyle], prompt: str, negative: str) -> None:
    assert apply_styles("fox ", "blurry", styles) == (prompt, negative)


def test_an_empty_prompt_takes_the_text_of_a_style() -> None:
    assert apply_styles("", "", [INK]) == ("ink drawing", "colour")


def test_a_file_of_the_webui_is_read() -> None:
    text = (
        "\ufeffname,prompt,negative_prompt\r\n"
        'ink,"ink drawing, {prompt}",colour\r\n'
        "---- paint ----,,\r\n"
        "# not this one,a,b\r\n"
        "\r\n"
        'oil, "oil,\npainting",\r\n'
        "short,tall\r\n"
    )
    assert read_styles(text) == [
        PromptStyle("ink", "ink drawing, {prompt}", "colour"),
        PromptStyle("oil", "oil,\npainting", ""),
        PromptStyle("short", "tall", ""),
    ]


def test_a_file_of_2022_is_read() -> None:
    assert read_styles("name,text\nink,ink drawing\n") == [PromptStyle("ink", "ink drawing", "")]


def test_a_style_that_stands_twice_with_the_same_text_is_one() -> None:
    assert read_styles("name,prompt\nink,a\nink,a\n") == [PromptStyle("ink", "a", "")]


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        (
            *("", "line 1"),
            "the header must have a column `name`, parted by commas, semicolons or tabs, not nothing",
        ),
        ("name,words\nink,a\n", "line 1", "the header of a styles file must have a column `prompt`"),
        ('name,prompt\nink,"a\nb"\n,c\n', "line 4", "the style has no name"),
        (
            "name,prompt\nink,a,b\n",
            "line 2",
            "has 3 cells, but the header has 2; a text with a delimiter in it stands in quotes",
        ),
        (
            *('name,prompt\nink,a\n"noir,b\nfilm,c\n', "line 3"),
            (
                "a quote opens here and is never closed: it would swallow the 2 lines after it. "
                "Close it, or leave it out"
            ),
        ),
        (
            *("name,prompt\nink,a\nink,b\n", "line 3"),
            "the style 'ink' stands on line 2 already, with other texts",
        ),
        (
            *("name,prompt,note\nink,a,mine\n", "line 2"),
            "has a text in the column `note`, which styles here do not have",
        ),
        ("name,prompt,prompt\nink,a,b\n", "line 1", "the column `prompt` stands twice in the header"),
    ],
)
def test_a_wrong_file_is_refused_by_line(text: str, place: str, message: str) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        read_styles(text)
    assert [(problem.field, problem.message) for problem in refusal.value.problems] == [(place, message)]


@given(st.text(st.sampled_from('name,prompt\n\r"# {}')) | st.text())
def test_any_file_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(InvalidRequest):
        assert all(style.name for style in read_styles("name,prompt\n" + text))
