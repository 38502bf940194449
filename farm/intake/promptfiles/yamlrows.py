"""A YAML list of prompts, or of settings with a prompt, as entries."""

import re
from typing import Any

from farm.formats.delimited import canonical
from farm.formats.yamls import BadYaml, Node, read_yaml
from farm.intake.promptfiles.entries import Entries, Entry, UnreadableRow
from farm.intake.promptfiles.settings import TEXTS, own_name

# YAML 1.1 counts 010 in eights and 1:30 in sixties, and reads 1_000 as a thousand.
_NUMBER = re.compile(r"[-+]?(?:0|[1-9]\d*)(?:\.\d*)?(?:[eE][-+]?\d+)?|[-+]?\.\d+")
_TRUTHS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
_FORMS = "a list of prompts, or of settings with a `prompt`"


def read_rows(text: str) -> Entries:
    """The entries of a list, or the one that a file is. Raises BadYaml."""
    top = read_yaml(text)
    if top is None:
        return []
    if isinstance(top.value, dict) and "prompt" in map(canonical, top.value):
        return [_entry(top)]
    if not isinstance(top.value, list):
        raise BadYaml(top.line, f"must be {_FORMS}")
    return [_entry(node) for node in top.value]


def _entry(node: Node) -> Entry | UnreadableRow:
    place = f"line {node.line}"
    try:
        if isinstance(node.value, dict):
            return Entry(place, {name: _value(own_name(name), inner) for name, inner in node.value.items()})
        return Entry(place, {"prompt": _value("prompt", node)})
    except BadYaml as error:
        return UnreadableRow(f"line {error.line}", str(error))


def _value(field: str, node: Node) -> Any:
    if isinstance(node.value, list):
        return [_value(field, inner) for inner in node.value]
    if isinstance(node.value, dict):
        return {name: _value(own_name(name), inner) for name, inner in node.value.items()}
    if node.kind == "str":
        return node.value
    if field in TEXTS:
        if node.kind == "null" and field != "prompt":
            return None
        message = f"{field}: YAML takes {node.value[:40]!r} for a {_WORDS[node.kind]}, not a text; put it in quotes"
        raise BadYaml(node.line, message)
    return _other(field, node, node.value)


_WORDS = {
    "bool": "truth value",
    "int": "number",
    "float": "number",
    "null": "missing value",
    "timestamp": "date",
    "binary": "binary value",
}


def _other(field: str, node: Node, text: str) -> Any:
    if node.kind == "null":
        return None
    if node.kind == "bool":
        return _TRUTHS[text.lower()]
    if node.kind in ("int", "float") and _NUMBER.fullmatch(text):
        # As text, which the field's own type reads: the digits that were written.
        return text
    raise BadYaml(node.line, f"{field}: {text[:40]!r} is no plain number")
