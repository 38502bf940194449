"""Files of wildcards: a text on each line, or packs in YAML and JSON, alone or in a folder.

A folder may come from a stranger: a link in it could name any file of this machine, whose lines would then be put
into prompts. So only regular files are read, and only links that stay inside the folder.
"""

import os
import re
import stat
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from farm.errors import FieldProblem, InvalidRequest
from farm.formats.text import place_of, read_text, refuse
from farm.formats.yamls import BadYaml, Node, read_yaml
from farm.intake.promptfiles.jsons import BadJson, read_any
from farm.prompts.template import can_be_called

_MOST_BYTES = 8 * 2**20
_MOST_PACK_BYTES = 2 * 2**20
_MOST_TOTAL_BYTES = 64 * 2**20
_MOST_FILES = 10_000
_PACKS = (".yaml", ".yml", ".json")

LinesByName = dict[str, list[str]]


class _BadEntry(ValueError):
    """An entry of a pack that is not a valid wildcard."""

    def __init__(self, node: Node, message: str) -> None:
        super().__init__(message)
        self.node = node


@dataclass(frozen=True)
class WildcardFiles:
    """The lines of each wildcard by its name, and the files that were left out: other kinds, empty ones."""

    lines: Mapping[str, list[str]]
    left_out: tuple[str, ...] = ()
    empty: tuple[str, ...] = ()


def read_wildcard_files(path: Path) -> WildcardFiles:
    """The wildcards of a file, or of all below a folder: by their path without suffix, then the keys of a pack.

    Empty lines and those that begin with # are left out; so are files of only such lines, if others exist. Raises
    InvalidRequest for every other file that cannot be read whole, for a link out of the folder, and for a name that
    prompts cannot use.
    """
    if not path.is_dir():
        return _collect(path, [path], [])
    problems: list[FieldProblem] = []
    return _collect(path, list(_walk_files(path, problems)), problems)


def _collect(path: Path, files: list[Path], problems: list[FieldProblem]) -> WildcardFiles:
    root = path if path.is_dir() else path.parent
    known = [file for file in files if file.suffix.lower() in (".txt", *_PACKS) or file == path]
    found: LinesByName = {}
    empty = [file for file in known if file != path and _is_empty(file)]
    for file in (file for file in known if file not in empty):
        try:
            for name, lines in _read_file(file, file.relative_to(root).with_suffix("").as_posix()):
                if name in found:
                    problems.append(FieldProblem(str(file), f"defines __{name}__, as another file here does"))
                if not can_be_called(name):
                    problems.append(FieldProblem(str(file), _explain_bad_name(name)))
                found[name] = lines
        except InvalidRequest as error:
            problems += error.problems
        except _BadEntry as error:
            problems.append(FieldProblem(place_of(file, error.node.line or None), str(error)))
    if not found and not problems:
        what = "line in any of its files" if empty else ".txt, .yaml or .json file"
        problems.append(FieldProblem(str(path), f"holds no {what}"))
    if problems:
        raise InvalidRequest(problems)
    others = (file for file in files if file not in known)
    return WildcardFiles(found, _relative_names(root, others), _relative_names(root, empty))


def _relative_names(root: Path, files: Iterable[Path]) -> tuple[str, ...]:
    return tuple(str(file.relative_to(root)) for file in files)


def _is_empty(file: Path) -> bool:
    """Whether a text file of a pack holds no line; an unreadable file is reported when it is read."""
    try:
        return file.suffix.lower() == ".txt" and not _read_lines(file)
    except InvalidRequest:
        return False


def _read_lines(file: Path) -> list[str]:
    text = read_text(file, _MOST_BYTES, is_regular=True)
    return [line.strip() for line in text.split("\n") if line.strip() and not line.lstrip().startswith("#")]


def _walk_files(root: Path, problems: list[FieldProblem]) -> Iterator[Path]:
    """The files below a folder that may be read, in the order of their names.

    Hidden files and folders are skipped, and those that macOS adds to archives.
    """
    inside, count, size = root.resolve(), 0, 0
    for folder, folders, names in os.walk(root):
        links = [name for name in folders if (Path(folder) / name).is_symlink()]
        problems += [FieldProblem(str(Path(folder) / name), "is a link to a folder; put it here") for name in links]
        folders[:] = sorted(name for name in folders if not _is_hidden(name) and name not in links)
        for file in (Path(folder) / name for name in sorted(names) if not _is_hidden(name)):
            if why := _explain_refusal(file, inside):
                problems.append(FieldProblem(str(file), why))
                continue
            count, size = count + 1, size + file.stat().st_size
            if count > _MOST_FILES or size > _MOST_TOTAL_BYTES:
                message = f"holds more than {_MOST_FILES:,} files or {_MOST_TOTAL_BYTES // 2**20} MiB"
                raise InvalidRequest.at(str(root), message)
            yield file


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"


def _explain_refusal(file: Path, inside: Path) -> str | None:
    """Why a file is refused; None where it may be read."""
    try:
        if file.is_symlink() and not file.resolve(strict=True).is_relative_to(inside):
            return "is a link out of the folder; put the file itself here"
        return None if stat.S_ISREG(file.stat().st_mode) else "is not a regular file"
    except (OSError, RuntimeError):
        return "is a broken link"


def _read_file(file: Path, name: str) -> Iterator[tuple[str, list[str]]]:
    name, suffix = unicodedata.normalize("NFC", name), file.suffix.lower()
    if suffix in _PACKS:
        yield from _extract_wildcards(name, _parse_pack(file))
    elif suffix in ("", ".txt"):
        if not (lines := _read_lines(file)):
            raise refuse(file, "holds no line")
        yield name, lines
    else:
        raise refuse(file, f"{suffix} files are not read for wildcards; .txt, .yaml and .json are")


def _parse_pack(file: Path) -> Node:
    """What a pack holds. Raises InvalidRequest that names the line."""
    text = read_text(file, _MOST_PACK_BYTES, is_regular=True)
    try:
        node = _node_from_json(read_any(text)) if file.suffix.lower() == ".json" else read_yaml(text)
    except BadJson as error:
        raise refuse(file, f"{error} at column {error.column}", error.line) from None
    except BadYaml as error:
        raise refuse(file, str(error), error.line) from None
    if node is None:
        raise refuse(file, "holds nothing")
    return node


def _extract_wildcards(name: str, node: Node) -> Iterator[tuple[str, list[str]]]:
    """A wildcard for each list of a pack, named by the keys that lead to it."""
    if isinstance(node.value, dict) and node.value:
        for key, inner in node.value.items():
            yield from _extract_wildcards(f"{name}/{unicodedata.normalize('NFC', key.strip())}", inner)
        return
    items = [node] if isinstance(node.value, str) else list(node.value)
    if not items:
        raise _BadEntry(node, f"{name} holds nothing")
    yield name, [_format_line(name, item) for item in items if isinstance(item, Node)]


def _format_line(name: str, node: Node) -> str:
    """One of the texts, with its weight before it; what YAML reads as a number or a truth value is kept as text."""
    weight = ""
    if isinstance(node.value, dict):
        weight, node = _split_weight(name, node)
    if not isinstance(node.value, str) or node.kind == "null" or not node.value.strip():
        raise _BadEntry(node, f"{name}: a text is missing here")
    text = node.value.strip()
    if text.startswith("#"):
        raise _BadEntry(node, f"{name}: {text[:40]!r} begins with #, and would be a comment")
    return weight + text


def _split_weight(name: str, node: Node) -> tuple[str, Node]:
    """`{text: a fox, weight: 2}`, or `content` for `text`."""
    assert isinstance(node.value, dict), "the caller has checked"
    text = node.value.get("text") or node.value.get("content")
    weight = node.value.get("weight")
    rest = node.value.keys() - {"text", "content", "weight"}
    if text is None or rest or (weight and not re.fullmatch(r"\d{1,9}(\.\d{1,9})?", str(weight.value))):
        raise _BadEntry(node, f"{name}: must be a text, or `text` with a number as its `weight`")
    return (f"{weight.value}::" if weight else ""), text


def _node_from_json(value: Any) -> Node:
    """JSON as YAML nodes, without line numbers, which JSON's reader does not give."""
    if isinstance(value, dict):
        return Node(0, {name: _node_from_json(inner) for name, inner in value.items()}, "dict")
    if isinstance(value, list):
        return Node(0, [_node_from_json(inner) for inner in value], "list")
    return Node(0, "" if value is None else str(value), "null" if value is None else "str")


def _explain_bad_name(name: str) -> str:
    plain = re.sub(r"[^\w./-]+|_{2,}", "-", name).strip("-_")
    hint = f"; rename it to `{plain}`" if can_be_called(plain) else ""
    return f"prompts cannot use a wildcard {name!r}: use letters, digits, single spaces and - _ . / only{hint}"
