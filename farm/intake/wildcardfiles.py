"""Files of wildcards: a text a line, or packs in YAML and JSON, alone or in a folder, which nothing leads out of.

A folder may come from anybody: a link in it could name any file of this machine, whose lines would then stand in
prompts. So only regular files are read, and of links those that stay inside.
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

Lines = dict[str, list[str]]


class _Unread(ValueError):
    """A place in a pack that gives no wildcard."""

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

    Empty lines and those that begin with # are left out; so are files of such lines alone, beside others. Raises
    InvalidRequest for every other file that cannot be read whole, for a link out of the folder, and for a name that
    no prompt can call.
    """
    if not path.is_dir():
        return _checked(path, [path], [])
    problems: list[FieldProblem] = []
    return _checked(path, list(_files(path, problems)), problems)


def _checked(path: Path, files: list[Path], problems: list[FieldProblem]) -> WildcardFiles:
    root = path if path.is_dir() else path.parent
    known = [file for file in files if file.suffix.lower() in (".txt", *_PACKS) or file == path]
    found: Lines = {}
    empty = [file for file in known if file != path and _is_empty(file)]
    for file in (file for file in known if file not in empty):
        try:
            for name, lines in _read(file, file.relative_to(root).with_suffix("").as_posix()):
                if name in found:
                    problems.append(FieldProblem(str(file), f"gives __{name}__, as another file here does"))
                if not can_be_called(name):
                    problems.append(FieldProblem(str(file), _how_to_name(name)))
                found[name] = lines
        except InvalidRequest as error:
            problems += error.problems
        except _Unread as error:
            problems.append(FieldProblem(place_of(file, error.node.line or None), str(error)))
    if not found and not problems:
        what = "line in any of its files" if empty else ".txt, .yaml or .json file"
        problems.append(FieldProblem(str(path), f"holds no {what}"))
    if problems:
        raise InvalidRequest(problems)
    others = (file for file in files if file not in known)
    return WildcardFiles(found, _below(root, others), _below(root, empty))


def _below(root: Path, files: Iterable[Path]) -> tuple[str, ...]:
    return tuple(str(file.relative_to(root)) for file in files)


def _is_empty(file: Path) -> bool:
    """Whether a text file of a pack holds no line; what cannot be read is named when it is read."""
    try:
        return file.suffix.lower() == ".txt" and not _lines(file)
    except InvalidRequest:
        return False


def _lines(file: Path) -> list[str]:
    text = read_text(file, _MOST_BYTES, is_regular=True)
    return [line.strip() for line in text.split("\n") if line.strip() and not line.lstrip().startswith("#")]


def _files(root: Path, problems: list[FieldProblem]) -> Iterator[Path]:
    """The files below a folder that may be read, in the order of their names.

    Hidden files and folders are passed over, and what macOS puts beside files in an archive.
    """
    inside, count, size = root.resolve(), 0, 0
    for folder, folders, names in os.walk(root):
        links = [name for name in folders if (Path(folder) / name).is_symlink()]
        problems += [FieldProblem(str(Path(folder) / name), "is a link to a folder; put it here") for name in links]
        folders[:] = sorted(name for name in folders if not _is_hidden(name) and name not in links)
        for file in (Path(folder) / name for name in sorted(names) if not _is_hidden(name)):
            if why := _not_read(file, inside):
                problems.append(FieldProblem(str(file), why))
                continue
            count, size = count + 1, size + file.stat().st_size
            if count > _MOST_FILES or size > _MOST_TOTAL_BYTES:
                message = f"holds more than {_MOST_FILES:,} files or {_MOST_TOTAL_BYTES // 2**20} MiB"
                raise InvalidRequest.at(str(root), message)
            yield file


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"


def _not_read(file: Path, inside: Path) -> str | None:
    """Why a file is not read; None where it is."""
    try:
        if file.is_symlink() and not file.resolve(strict=True).is_relative_to(inside):
            return "is a link out of the folder"
        return None if stat.S_ISREG(file.stat().st_mode) else "is no regular file"
    except (OSError, RuntimeError):
        return "is a link to nothing"


def _read(file: Path, name: str) -> Iterator[tuple[str, list[str]]]:
    name, suffix = unicodedata.normalize("NFC", name), file.suffix.lower()
    if suffix in _PACKS:
        yield from _unpacked(name, _pack(file))
    elif suffix in ("", ".txt"):
        if not (lines := _lines(file)):
            raise refuse(file, "holds no line")
        yield name, lines
    else:
        raise refuse(file, f"{suffix} files are not read for wildcards; .txt, .yaml and .json are")


def _pack(file: Path) -> Node:
    """What a pack holds. Raises InvalidRequest that names the line."""
    text = read_text(file, _MOST_PACK_BYTES, is_regular=True)
    try:
        node = _of_json(read_any(text)) if file.suffix.lower() == ".json" else read_yaml(text)
    except BadJson as error:
        raise refuse(file, f"{error} at column {error.column}", error.line) from None
    except BadYaml as error:
        raise refuse(file, str(error), error.line) from None
    if node is None:
        raise refuse(file, "holds nothing")
    return node


def _unpacked(name: str, node: Node) -> Iterator[tuple[str, list[str]]]:
    """A wildcard for each list of a pack, named by the keys that lead to it."""
    if isinstance(node.value, dict) and node.value:
        for key, inner in node.value.items():
            yield from _unpacked(f"{name}/{unicodedata.normalize('NFC', key.strip())}", inner)
        return
    items = [node] if isinstance(node.value, str) else list(node.value)
    if not items:
        raise _Unread(node, f"{name} holds nothing")
    yield name, [_line(name, item) for item in items if isinstance(item, Node)]


def _line(name: str, node: Node) -> str:
    """One of the texts, with its weight before it; what YAML takes for a number or a truth value is its letters."""
    weight = ""
    if isinstance(node.value, dict):
        weight, node = _weighed(name, node)
    if not isinstance(node.value, str) or node.kind == "null" or not node.value.strip():
        raise _Unread(node, f"{name}: a text is missing here")
    text = node.value.strip()
    if text.startswith("#"):
        raise _Unread(node, f"{name}: {text[:40]!r} begins with #, and would be a comment")
    return weight + text


def _weighed(name: str, node: Node) -> tuple[str, Node]:
    """`{text: a fox, weight: 2}`, or `content` for `text`."""
    assert isinstance(node.value, dict), "the caller looked"
    text = node.value.get("text") or node.value.get("content")
    weight = node.value.get("weight")
    rest = node.value.keys() - {"text", "content", "weight"}
    if text is None or rest or (weight and not re.fullmatch(r"\d{1,9}(\.\d{1,9})?", str(weight.value))):
        raise _Unread(node, f"{name}: must be a text, or `text` with a number as its `weight`")
    return (f"{weight.value}::" if weight else ""), text


def _of_json(value: Any) -> Node:
    """JSON as YAML has it, but for the lines, which JSON's reader does not tell."""
    if isinstance(value, dict):
        return Node(0, {name: _of_json(inner) for name, inner in value.items()}, "dict")
    if isinstance(value, list):
        return Node(0, [_of_json(inner) for inner in value], "list")
    return Node(0, "" if value is None else str(value), "null" if value is None else "str")


def _how_to_name(name: str) -> str:
    plain = re.sub(r"[^\w./-]+|_{2,}", "-", name).strip("-_")
    hint = f"; `{plain}` could" if can_be_called(plain) else ""
    return f"no prompt can call a wildcard {name!r}: letters, digits, single spaces and - _ . / only{hint}"
