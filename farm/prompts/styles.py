"""Styles: named texts that are put around prompts, and the styles.csv of AUTOMATIC1111's WebUI."""

from collections.abc import Sequence
from dataclasses import dataclass

from farm.errors import FieldProblem, InvalidRequest
from farm.formats.delimited import BadTable, Row, canonical, misfit, read_table
from farm.spec.budget import LONGEST_PROMPT

_PLACE = "{prompt}"
# What a style's text is called in files of 2022.
_OLD_PROMPT = "text"


@dataclass(frozen=True)
class PromptStyle:
    """A style. `{prompt}` in a text marks where the user's own text goes; without it the style's text follows."""

    name: str
    prompt: str
    negative_prompt: str


def apply_styles(prompt: str, negative: str, styles: Sequence[PromptStyle]) -> tuple[str, str]:
    """The prompt and the negative prompt with the styles put around them, one after the other.

    Raises InvalidRequest where a text would get too long: styles that hold `{prompt}` twice multiply it.
    """
    for style in styles:
        _check_length(style.name, style.prompt, prompt)
        _check_length(style.name, style.negative_prompt, negative)
        prompt = _merge(style.prompt, prompt)
        negative = _merge(style.negative_prompt, negative)
    return prompt, negative


def _check_length(name: str, style: str, prompt: str) -> None:
    """Raise InvalidRequest for a text that would be too long; computed before it is built."""
    places = style.count(_PLACE)
    length = len(style) + (places * (len(prompt) - len(_PLACE)) if places else len(", ") + len(prompt))
    if length > LONGEST_PROMPT:
        message = f"{name!r} would make a prompt of {length:,} characters; at most {LONGEST_PROMPT:,} are allowed"
        raise InvalidRequest.at("styles", message)


class BadStyles(InvalidRequest):
    """Rows of a styles file that cannot be stored, each with its line."""

    def __init__(self, found: Sequence[tuple[int, str]]) -> None:
        self.found = tuple(found)
        super().__init__([FieldProblem(f"line {line}", message) for line, message in found])


def read_styles(csv_text: str) -> list[PromptStyle]:
    """The styles of a styles.csv, in their order.

    Rows without a text are headings or dividers and those that begin with # are comments; both are left out.
    Raises BadStyles that names each bad line, two styles of one name among them.
    """
    try:
        table = read_table(csv_text.removeprefix("\ufeff"), "name")
    except BadTable as error:
        raise BadStyles([(error.line, str(error))]) from None
    names = _name_columns(table.header)
    problems: list[tuple[int, str]] = []
    found: dict[str, tuple[int, PromptStyle]] = {}
    for row in table.rows:
        style, why = _parse_style(table.header, names, row)
        if style is not None and style.name in found and found[style.name][1] != style:
            why = f"the style {style.name!r} stands on line {found[style.name][0]} already, with other texts"
        if why:
            problems.append((row.line, why))
        elif style is not None:
            found.setdefault(style.name, (row.line, style))
    if problems:
        raise BadStyles(problems)
    return [style for _, style in found.values()]


def _merge(style: str, prompt: str) -> str:
    if _PLACE in style:
        return style.replace(_PLACE, prompt)
    if not style.strip():
        return prompt
    return ", ".join(text for text in (prompt.strip(), style.strip()) if text)


def _name_columns(header: Row) -> list[str]:
    names = [canonical(cell) for cell in header.cells]
    if "prompt" not in names:
        names = ["prompt" if name == _OLD_PROMPT else name for name in names]
    if "prompt" not in names:
        raise BadStyles([(header.line, "the header of a styles file must have a column `prompt`")])
    return names


def _parse_style(header: Row, names: list[str], row: Row) -> tuple[PromptStyle | None, str | None]:
    """The style of a row, None if it has no text; and why it cannot be stored."""
    if row.cells[0].startswith("#"):
        return None, None
    if why := misfit(header, row):
        return None, why
    texts = {name: cell for name, cell in zip(names, row.cells, strict=False) if cell}
    style = PromptStyle(texts.get("name", ""), texts.get("prompt", ""), texts.get("negative_prompt", ""))
    if strange := texts.keys() - {"name", "prompt", "negative_prompt"}:
        return None, f"has a text in the column `{min(strange)}`, which styles here do not have"
    if not style.prompt.strip() and not style.negative_prompt.strip():
        return None, None
    return (style, None) if style.name.strip() else (None, "the style has no name")
