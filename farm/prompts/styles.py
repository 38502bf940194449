"""Styles: named texts that are put around prompts, and the styles.csv of AUTOMATIC1111's WebUI."""

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from farm.budget import LONGEST_PROMPT
from farm.errors import FieldProblem, InvalidRequest

_PLACE = "{prompt}"
# What a style's text is called in files of 2022.
_OLD_PROMPT = "text"


@dataclass(frozen=True)
class Style:
    """A style. `{prompt}` in a text says where the user's own goes; without it the text follows."""

    name: str
    prompt: str
    negative_prompt: str


def apply_styles(prompt: str, negative: str, styles: Sequence[Style]) -> tuple[str, str]:
    """The prompt and the negative prompt with the styles put around them, one after the other.

    Raises InvalidRequest where a text would get too long: styles that hold `{prompt}` twice multiply it.
    """
    for style in styles:
        _check_length(style.name, style.prompt, prompt)
        _check_length(style.name, style.negative_prompt, negative)
        prompt = _merged(style.prompt, prompt)
        negative = _merged(style.negative_prompt, negative)
    return prompt, negative


def _check_length(name: str, style: str, prompt: str) -> None:
    """Told from the lengths, before the text is made."""
    places = style.count(_PLACE)
    length = len(style) + (places * (len(prompt) - len(_PLACE)) if places else len(", ") + len(prompt))
    if length > LONGEST_PROMPT:
        said = f"{name!r} would make a prompt of {length:,} characters; at most {LONGEST_PROMPT:,} are allowed"
        raise InvalidRequest([FieldProblem("styles", said)])


def read_styles(csv_text: str) -> list[Style]:
    """The styles of a styles.csv; of two with one name the later counts, as in the WebUI.

    Rows without a text are headings or dividers and those that begin with # are comments; both are left out.
    Raises InvalidRequest that names the line.
    """
    rows = _rows(csv_text.removeprefix("\ufeff"))
    header = _header(next(rows, (1, []))[1])
    styles = (_style(cells, header, line) for line, cells in rows if not cells[0].startswith("#"))
    return list({style.name: style for style in styles if style is not None}.values())


def _merged(style: str, prompt: str) -> str:
    if _PLACE in style:
        return style.replace(_PLACE, prompt)
    if not style.strip():
        return prompt
    return ", ".join(text for text in (prompt.strip(), style.strip()) if text)


def _rows(csv_text: str) -> Iterator[tuple[int, list[str]]]:
    """The rows that are not empty, each with its line. A cell in quotes may have several."""
    reader = csv.reader(io.StringIO(csv_text, newline=""), skipinitialspace=True)
    began = 1
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                yield began, cells
            began = reader.line_num + 1
    except csv.Error as error:
        raise _refusal(reader.line_num, f"is not CSV: {error}") from None


def _header(cells: list[str]) -> list[str]:
    header = [cell.strip() for cell in cells]
    if "prompt" not in header:
        header = ["prompt" if cell == _OLD_PROMPT else cell for cell in header]
    for column in ("name", "prompt"):
        if column not in header:
            raise _refusal(1, f"the header of a styles file must have a column `{column}`")
    return header


def _style(cells: list[str], header: list[str], line: int) -> Style | None:
    """The style of a row, or None if it says nothing."""
    if len(cells) > len(header):
        raise _refusal(line, f"has {len(cells)} cells, but the header has {len(header)}")
    row = dict(zip(header, cells, strict=False))
    style = Style(row.get("name", "").strip(), row.get("prompt", ""), row.get("negative_prompt", ""))
    if not style.prompt.strip() and not style.negative_prompt.strip():
        return None
    if not style.name:
        raise _refusal(line, "the style has no name")
    return style


def _refusal(line: int, message: str) -> InvalidRequest:
    return InvalidRequest([FieldProblem(f"line {line}", message)])
