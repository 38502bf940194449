"""The grammar of a parameters text, as the WebUI's 1.10 release reads it, and the lines that other programs append.

The prompt; a line `Negative prompt: ...` unless empty; one line of `Key: value` items, where a value with a comma,
a colon or a line break is a JSON string. Spaces around lines and empty lines before a prompt are lost.

To the WebUI the items are the last line, if it has three of them. Here they are the last line that begins with
`Steps: ` and a number, anywhere in the text: sd-dynamic-prompts appends its templates, and people append notes.
Without such a line they are the last line, if it begins with another usual key.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from farm.spec.settingnames import INFOTEXT_KEYS

_NEGATIVE = "Negative prompt:"
_TEMPLATES = ("Template:", "Negative Template:")
_FEWEST_ITEMS = 3

# The WebUI's, with a bound on keys: without it a long line of letters takes quadratic time.
_ITEM = re.compile(r'(\w[\w \-/]{1,99}):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)')
_STEPS = re.compile(r"\s*Steps: {0,9}\d")
_SETTINGS = re.compile(r"\s*Steps: {0,9}\d+\s*(?:,|$)")
# Civitai's extension writes it bare, with commas and colons in it.
_HASHES = re.compile(r",? ?\bHashes: ?(\{[^{}]*\})")
_USUAL = ("num_inference_steps", "sampler", "guidance_scale", "seed", "size", "schedule_type")
_WORDS = (*(INFOTEXT_KEYS[name] for name in _USUAL), "Model hash")
_WORD = re.compile(rf"(?<!\w)({'|'.join(_WORDS)}): ?")
# As JSON, in a string of JSON, as Python prints it, or in XML.
_MEMBER = re.compile(r"""(?:["']|&quot;)\w{1,60}\\{0,9}(?:["']|&quot;)\s{0,9}:""")
_FEWEST_MEMBERS = 3
_FEWEST_LINES = 2


@dataclass(frozen=True)
class ParsedText:
    """A text taken apart: its prompts, and the values by key as they stand there, unquoted.

    `doubled` are the keys that occur with several values, of which the last is in `items`. `templates` are
    the lines that the prompts were unfolded from; `behind` are those behind the items, by their numbers.
    """

    prompt: str
    negative_prompt: str
    items: Mapping[str, str] = field(default_factory=dict)
    hashes: str = ""
    doubled: tuple[str, ...] = ()
    templates: tuple[str, ...] = ()
    behind: tuple[tuple[int, str], ...] = ()

    @property
    def misread(self) -> str | None:
        """Why a prompt seems to hold something else, such as settings or damaged JSON; None where it does not."""
        if _NEGATIVE in self.prompt:
            return "its negative prompt stands within its prompt, on no line of its own"
        lines = (line for text in (self.prompt, self.negative_prompt) for line in text.split("\n"))
        behind = (line for _number, line in self.behind)
        words = {match[1] for match in map(_WORD.match, (*lines, *behind)) if match}
        # One is enough if the line of items has no more than one or two itself.
        if len(words) >= (_FEWEST_LINES if len(self.items) >= _FEWEST_ITEMS or not self.items else 1):
            return "its settings stand on several lines"
        for prompt in (self.prompt, self.negative_prompt):
            if any(map(_STEPS.match, prompt.split("\n"))) or len(set(_WORD.findall(prompt))) >= _FEWEST_ITEMS:
                return "settings stand within its prompt, on no line that begins with `Steps:` and a number"
            if len(_MEMBER.findall(prompt)) >= _FEWEST_MEMBERS:
                return "its prompt is JSON that is damaged"
        return None


def parse(text: str) -> ParsedText:
    """Take a text apart. Every text has a meaning: what holds no items is all prompt."""
    lines = text.strip().split("\n")
    place = _find_settings_line(lines)
    before, behind = (lines[:place], lines[place + 1 :]) if place < len(lines) else (lines, [])
    line, hashes = _cut_out_hashes(lines[place].strip()) if place < len(lines) else ("", "")
    found = [(key, _unquote_value(value)) for key, value in _ITEM.findall(line)]
    prompt, negative, templates = _split_prompts(before)
    numbered = [(place + 2 + number, text) for number, text in enumerate(behind) if text.strip()]
    if numbered and numbered[0][1].startswith(_TEMPLATES):
        templates, numbered = [*templates, *(text for _number, text in numbered)], []
    items = dict(found)
    doubled = tuple(dict.fromkeys(key for key, value in found if items[key] != value))
    return ParsedText(prompt, negative, items, hashes, doubled, tuple(templates), tuple(numbered))


def _find_settings_line(lines: Sequence[str]) -> int:
    """The index of the line of items, or how many lines there are where none is."""
    for place in range(len(lines) - 1, -1, -1):
        if _SETTINGS.match(lines[place]):
            return place
    last = lines[-1].strip()
    is_settings = _WORD.match(last) and len(_ITEM.findall(last)) >= _FEWEST_ITEMS
    return len(lines) - 1 if is_settings else len(lines)


def _cut_out_hashes(line: str) -> tuple[str, str]:
    # The farm's own names may hold anything, and stand quoted.
    match = None if "Version: diffusion-farm" in line else _HASHES.search(line)
    return (line[: match.start()] + line[match.end() :], match[1]) if match else (line, "")


def _split_prompts(lines: Iterable[str]) -> tuple[str, str, list[str]]:
    prompt: list[str] = []
    negative: list[str] = []
    templates: list[str] = []
    current = prompt
    for line in map(str.strip, lines):
        if line.startswith(_NEGATIVE):
            current = negative
        elif line.startswith(_TEMPLATES):
            current = templates
        current.append(line.removeprefix(_NEGATIVE).strip())
    return "\n".join(prompt).lstrip("\n"), "\n".join(negative).lstrip("\n"), templates


def _unquote_value(value: str) -> str:
    """A JSON string's value. Any other text stays as it is, and so does one with half of a surrogate pair."""
    if not (value.startswith('"') and value.endswith('"')):
        return value
    try:
        unquoted: str = json.loads(value)
        unquoted.encode()
    except ValueError:
        return value
    return unquoted


def compose(prompt: str, negative_prompt: str, items: Iterable[tuple[str, str]]) -> str:
    """Build a text from its prompts and its items, whose values are quoted already."""
    lines = [prompt]
    if negative_prompt:
        lines.append(f"{_NEGATIVE} {negative_prompt}")
    lines.append(", ".join(f"{key}: {value}" for key, value in items))
    return "\n".join(lines).strip()


def quote_value(value: str) -> str:
    """A value as the WebUI writes it: as a JSON string where it would not be read back unchanged."""
    is_plain = value and value == value.strip() and not value.startswith('"')
    if is_plain and not any(mark in value for mark in ",:\n"):
        return value
    return json.dumps(value, ensure_ascii=False)


def quote_without_separators(value: str) -> str:
    """A value as a JSON string without a comma or colon: readers that split at these do not cut it."""
    return json.dumps(value, ensure_ascii=False).replace(",", "\\u002c").replace(":", "\\u003a")
