"""The lines of the WebUI's script "Prompts from file": `--prompt "a fox" --steps 20 --negative_prompt fog`.

A line that begins with an option is read as a shell would; the words of the two prompts may do without quotes.
"""

import shlex
from collections.abc import Iterator

from farm.formats.delimited import canonical
from farm.intake.promptfiles.entries import Entry, UnreadableRow

_JOINED = ("prompt", "negative_prompt")
_SWITCHES = ("restore_faces", "tiling", "do_not_save_samples", "do_not_save_grid")


def is_command(line: str) -> bool:
    return line.startswith("--")


def read_command(place: str, line: str) -> Entry | UnreadableRow:
    """The options of a line as the fields of a row."""
    try:
        words = shlex.split(line)
    except ValueError as error:
        return UnreadableRow(place, f"is no line of options: {str(error)[0].lower()}{str(error)[1:]}")
    fields: dict[str, str] = {}
    for name, value, why in _options(words):
        if why:
            return UnreadableRow(place, why)
        if name in fields:
            return UnreadableRow(place, f"`--{name}` stands twice")
        fields[name] = value
    return Entry(place, fields) if "prompt" in fields else UnreadableRow(place, "has options, but no --prompt")


def _options(words: list[str]) -> Iterator[tuple[str, str, str]]:
    """The name and the value of each option; and why, where a word is none."""
    position = 0
    while position < len(words):
        word = words[position]
        name = canonical(word[2:])
        if not word.startswith("--") or not name[:1].isalpha():
            yield "", "", f'{word[:80]!r} is no option; a prompt with spaces stands in quotes: --prompt "..."'
            return
        if position + 1 == len(words):
            yield "", "", f"`--{name}` has no value"
            return
        end = position + 2
        while name in _JOINED and end < len(words) and not words[end].startswith("--"):
            end += 1
        value = " ".join(words[position + 1 : end])
        if name in _SWITCHES and value not in ("true", "false"):
            yield "", "", f"`--{name}` is true or false, not {value[:40]!r}"
            return
        yield name, value, ""
        position = end
