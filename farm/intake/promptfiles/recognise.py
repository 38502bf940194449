"""Which format a prompt file has: by its suffix, or by its text where that has none or says `.txt`."""

import re
from collections.abc import Mapping
from pathlib import Path

from farm.formats.badline import BadLine
from farm.formats.delimited import canonical, header_of
from farm.formats.yamls import MOST_BYTES as MOST_YAML_BYTES
from farm.formats.yamls import BadYaml
from farm.intake.promptfiles import yamlrows
from farm.intake.promptfiles.commands import is_command
from farm.intake.promptfiles.entries import Entry
from farm.intake.promptfiles.jsons import BadJson, read_any
from farm.intake.promptfiles.settings import ALIASES
from farm.intake.request import PromptRow

FORMATS: Mapping[str, str] = {
    ".txt": "lines",
    ".text": "lines",
    ".prompts": "lines",
    ".json": "json",
    ".jsonl": "json lines",
    ".ndjson": "json lines",
    ".csv": "table",
    ".tsv": "table",
    ".tab": "table",
    ".yaml": "yaml",
    ".yml": "yaml",
}
"""The formats by suffix."""

ACCEPTED = ".txt, .csv, .tsv, .json, .jsonl, .ndjson, .yaml"

_RENAMED: Mapping[str, str] = {"json": ".json", "json lines": ".jsonl", "table": ".csv or .tsv", "yaml": ".yaml"}
_TITLES: Mapping[str, str] = {"json": "JSON", "json lines": "JSON lines", "table": "a table", "yaml": "YAML"}

_SHEETS = frozenset({".xlsx", ".xls", ".xlsm", ".ods", ".numbers"})
_DOCUMENTS = frozenset({".doc", ".docx", ".odt", ".rtf", ".pdf", ".md", ".markdown", ".html", ".htm", ".pages"})
_PICTURES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".avif", ".gif", ".tif", ".tiff", ".bmp", ".svg"})

_FIELDS = frozenset({*PromptRow.model_fields, *ALIASES})
_OBJECT = re.compile(r'[\[\s]*\{\s*(?:"[^"\n]*"\s*:.*|\})\s*,?', re.DOTALL)
_BRACKETS = re.compile(r"[\[\]{},\s]+")
_MEMBER = re.compile(r'"[^"\n]*"\s*:\s')
_NAMED = re.compile(r"(?:-\s+)?([A-Za-z][A-Za-z _-]{0,30}):(?:\s|$)")
_PROMPT_NAMED = re.compile(r"(?:-\s+)?(?:negative_)?prompt:(?:\s|$)")
_WEBUI_TEXT = re.compile(r"Negative prompt:|Steps: \d+, Sampler: ")
# What is typed or pasted is read by the portal, too, whose time is everybody's; it is refused all the same.
_MOST_TYPED_YAML = 2**16
_KEEP = "keep it in a file, {}, and give that to farm submit --file"


class Mistaken(BadLine):
    """Text that is in another format than its name says, and the line that shows it."""


def format_of(path: Path) -> str | None:
    """The format that a file's name tells; None where it has no suffix. Raises Mistaken for an unknown one."""
    suffix = path.suffix.lower()
    if not suffix:
        return None
    if suffix not in FORMATS:
        raise Mistaken(0, f"{suffix} files are not read{_advice(suffix)}. Prompts come from {ACCEPTED}")
    return FORMATS[suffix]


def _advice(suffix: str) -> str:
    if suffix in _SHEETS:
        return ": save the sheet as CSV"
    if suffix in _DOCUMENTS:
        return ": save it as plain text, a prompt a line"
    if suffix in _PICTURES:
        return " for prompts: --from-image reads how one was made, --image starts from it"
    return ""


def guess(text: str) -> str:
    """The format of a text that has no name."""
    try:
        check_lines(text)
    except _Guessed as guessed:
        return guessed.format
    except Mistaken:
        pass
    return "lines"


class _Guessed(Mistaken):
    """Lines that are another format."""

    def __init__(self, line: int, format: str) -> None:
        self.format = format
        self.what = f"looks like {_TITLES[format]}, whose signs would be rendered as prompts"
        super().__init__(line, f"{self.what}: name the file {_RENAMED[format]}")


def check_lines(text: str, most_yaml: int = MOST_YAML_BYTES) -> None:
    """Raise Mistaken where lines of prompts are none: what it is would be rendered as it is written.

    Of a text longer than `most_yaml` it is not tried whether all of it is YAML.
    """
    lines = [(number, line.strip()) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    said = [(number, line) for number, line in lines if not line.startswith("#")]
    if not said:
        return
    number, first = said[0]
    if first[0] in "[{" and _is_json(text):
        raise _Guessed(number, "json")
    if any(_is_header(first, delimiter, is_alone=len(said) == 1) for delimiter in (",", ";", "\t")):
        raise _Guessed(number, "table")
    named = next((number for number, line in said if _names_field(line)), None)
    if named is not None and len(text) <= most_yaml and _is_yaml(text):
        raise _Guessed(named, "yaml")
    for number, line in said:
        _check_line(number, line, is_alone=len(said) == 1)


def no_prompts(text: str) -> list[Mistaken]:
    """Why lines that were typed or pasted as prompts are none, where they have no file with a name of its own."""
    lines = [(number, line.strip()) for number, line in enumerate(text.split("\n"), 1)]
    found = {n: f"looks like a table: {_KEEP.format('.csv')}" for n, line in lines if _is_whole_header(line)}
    option = f"begins with an option, which would be rendered as it is written: {_KEEP.format('.txt')}"
    found |= {n: option for n, line in lines if is_command(line)}
    try:
        check_lines(text, _MOST_TYPED_YAML)
    except _Guessed as guessed:
        found[guessed.line] = f"{guessed.what}: {_KEEP.format(_RENAMED[guessed.format])}"
    except Mistaken as mistaken:
        found[mistaken.line] = str(mistaken)
    return [Mistaken(number, message) for number, message in sorted(found.items())]


def _check_line(number: int, line: str, *, is_alone: bool) -> None:
    if _OBJECT.fullmatch(line):
        raise _Guessed(number, "json" if is_alone or line[0] == "[" else "json lines")
    if _BRACKETS.fullmatch(line) or _MEMBER.match(line):
        raise _Guessed(number, "json")
    if _WEBUI_TEXT.match(line):
        message = (
            "is what the WebUI writes about an image, and would be rendered as a prompt: keep a prompt a line, or "
            "give the image itself to --from-image"
        )
        raise Mistaken(number, message)
    if named := _PROMPT_NAMED.match(line):
        message = (
            f"begins with `{named[0].strip()}`, which would be rendered with the prompt: leave that out; or, if "
            "this is YAML, name the file .yaml"
        )
        raise Mistaken(number, message)


def _is_json(text: str) -> bool:
    try:
        value = read_any(text)
    except BadJson:
        return False
    # `[a]` and `{}` alone may be meant for the prompt language.
    return bool(value)


def _names_field(line: str) -> bool:
    named = _NAMED.match(line)
    return named is not None and canonical(named[1]) in _FIELDS


def _is_yaml(text: str) -> bool:
    """Whether all of it is YAML of prompts: a prompt may begin with a word and a colon as well."""
    try:
        entries = yamlrows.read_rows(text)
    except BadYaml:
        return False
    return any(isinstance(entry, Entry) for entry in entries) and all(
        not isinstance(entry, Entry) or "prompt" in map(canonical, entry.fields) for entry in entries
    )


def _is_header(line: str, delimiter: str, *, is_alone: bool) -> bool:
    """Whether a first line is that of a table: a column `prompt`, above others or beside another that is known."""
    names = header_of(line, delimiter)
    if len(names) == 1:
        return names == ["prompt"] and not is_alone
    return "prompt" in names and any(name in _FIELDS for name in names if name != "prompt")


def _is_whole_header(line: str) -> bool:
    """Whether a line, wherever it stands, has the names of columns and nothing else."""
    if len(line) > 300 or "prompt" not in line.lower():
        return False
    return any(
        len(names) > 1 and "prompt" in names and _FIELDS.issuperset(names)
        for names in (header_of(line, delimiter) for delimiter in (",", ";", "\t"))
    )
