"""Files of prompts, styles and wildcards, good ones and thousands of mutations of each: nothing is lost in silence.

Every row carries a word of its own. A file is read whole, each word in a row of its own, or it is refused by
InvalidRequest with the file's name; nothing else is raised. FARM_FUZZ_EXAMPLES times 60 says how many mutations of
each kind of file there are, and FARM_FUZZ_SEED which; `make fuzz` sets both.
"""

import json
import os
import random
import re
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from farm.errors import InvalidRequest
from farm.intake import snippets
from farm.intake.promptfiles.read import read_rows

COUNT = 60 * int(os.environ.get("FARM_FUZZ_EXAMPLES", "10"))
SEED = int(os.environ.get("FARM_FUZZ_SEED", "1"))

WORD = re.compile(r"zq\d{3}qz")
PIECES = [
    *"\"',;:\t\n\r\\#-[]{}|&*!<>@%=~` 0",
    *(
        '""',
        '",',
        ',"',
        "\n\n",
        "- ",
        "--",
        "# ",
        ": ",
        "\\n",
        "\\u0000",
        "\0",
        "\ufeff",
        "\u2028",
        "\u202e",
        "é",
        "桜",
    ),
    *(
        "prompt",
        "prompt,",
        "no",
        "null",
        "1e999",
        "-1",
        "<lora:x:1>",
        "{a|b}",
        "__x__",
        "&a ",
        "*a",
        "!!str ",
        "---\n",
    ),
]
REPLACED = (('"', ""), ("\n", "\r\n"), ("\n", "\r"), (",", ";"), ("  ", "\t"))
ENCODINGS = ("utf-8", "utf-8", "utf-8", "utf-8-sig", "utf-16", "utf-16-le", "latin-1", "utf-32")

Rows = Iterable[tuple[int, str]]


def _words(chance: random.Random) -> list[tuple[int, str]]:
    """Prompts with a word each, and a setting."""
    texts = (
        "a fox",
        "a fox, red, at dusk",
        "a (fox:1.2)",
        "a fox\u2019s tail",
        "灯台",
        'a "sign"',
        "a fox; an owl",
    )
    return [(chance.randint(1, 50), f"{chance.choice(texts)} zq{n:03}qz") for n in range(chance.randint(2, 9))]


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _quoted(text: str) -> str:
    return '"{}"'.format(text.replace('"', '""'))


def _table(delimiter: str) -> Callable[[Rows], str]:
    def write(rows: Rows) -> str:
        lines = [delimiter.join([_quoted(text), str(steps), "fog"]) for steps, text in rows]
        return "\n".join([delimiter.join(["prompt", "steps", "negative_prompt"]), *lines, ""])

    return write


def _styles(rows: Rows) -> str:
    return "\r\n".join(
        ["name,prompt,negative_prompt", *(f"s{n},{_quoted(t)},fog" for n, (_, t) in enumerate(rows))]
    )


def _commands(rows: Rows) -> str:
    return "\n".join(f"--prompt {_json(text)} --steps {steps}" for steps, text in rows)


def _objects(rows: Rows) -> list[dict[str, object]]:
    return [{"prompt": text, "steps": steps} for steps, text in rows]


def _yaml(rows: Rows) -> str:
    return "\n".join(
        f"- prompt: {json.dumps(t, ensure_ascii=False)}\n  steps: {n}\n  negative: fog" for n, t in rows
    )


def _pack(rows: Rows) -> str:
    return "a:\n" + "\n".join(
        f"  k{n}:\n    - {json.dumps(t, ensure_ascii=False)}" for n, (_, t) in enumerate(rows)
    )


WRITERS: dict[str, Callable[[Rows], str]] = {
    "p.txt": lambda rows: "\n".join(text for _, text in rows),
    "commands.txt": _commands,
    "p.csv": _table(","),
    "semicolons.csv": _table(";"),
    "p.tsv": _table("\t"),
    "p.json": lambda rows: json.dumps(_objects(rows), ensure_ascii=False, indent=1),
    "p.jsonl": lambda rows: "\n".join(json.dumps(row, ensure_ascii=False) for row in _objects(rows)),
    "p.ndjson": lambda rows: "\n".join(json.dumps(row) for row in _objects(rows)),
    "p.yaml": _yaml,
}
PHRASES: dict[str, Callable[[Rows], str]] = {
    "styles.csv": _styles,
    "w.txt": lambda rows: "\n".join(text for _, text in rows),
    "pack.yaml": _pack,
    "pack.json": lambda rows: json.dumps({"a": {f"k{n}": [text] for n, (_, text) in enumerate(rows)}}, indent=1),
}


def _mutated(chance: random.Random, text: str) -> str:
    """The text with one to three things done to it."""
    for _ in range(chance.randint(1, 3)):
        place, end = sorted((chance.randint(0, len(text)), chance.randint(0, len(text))))
        lines = text.split("\n")
        line = chance.randrange(len(lines))
        match chance.randrange(7):
            case 0:
                text = text[:place] + text[place + 1 :]
            case 1 | 2:
                text = text[:place] + chance.choice(PIECES) + text[place:]
            case 3:
                text = text[:place] + text[place:end][:20] + text[place:]
            case 4:
                text = "\n".join([*lines[:line], lines[line], *lines[line:]])
            case 5:
                text = "\n".join([*lines[:line], *lines[line + 1 :]])
            case 6:
                text = text.replace(
                    *chance.choice([('"', ""), ("\n", "\r\n"), ("\n", "\r"), (",", ";"), ("  ", "\t")])
                )
    return text


def _written(folder: Path, name: str, text: str, encoding: str) -> str:
    """Write a file, and return the text that it holds then."""
    content = text.encode(encoding, "replace")
    (folder / name).write_bytes(content)
    return content.decode(encoding, "replace")


def _is_comment(name: str, line: str) -> bool:
    return line.lstrip("\ufeff \t").startswith("#") and name.endswith((".txt", ".yaml", "styles.csv"))


def _expected(name: str, text: str) -> set[str]:
    """The words that a text holds, but for those in comments."""
    text = re.sub(r"(?m)(?<=\s)#.*$", "", text) if name.endswith(".yaml") else text
    lines = re.split(r"\r\n|\r|\n", text)
    return {word for line in lines if not _is_comment(name, line) for word in WORD.findall(line)}


def _read_rows(path: Path) -> list[str]:
    return [placed.row.model_dump_json() for placed in read_rows(path)]


def _read_phrases(path: Path) -> list[str]:
    if path.name.startswith("styles"):
        return [f"{style.name} {style.prompt} {style.negative_prompt}" for style in snippets.read_styles_file(path)]
    return [f"{name} {line}" for name, lines in snippets.read_wildcards(path).items() for line in lines]


def _read_or_refused(read: Callable[[Path], list[str]], path: Path) -> list[str] | None:
    """The rows; None where the file is refused in the way it should be."""
    try:
        return read(path)
    except InvalidRequest as error:
        refused = error.problems
    assert all(problem.message for problem in refused)
    assert all(problem.field.startswith(str(path)) for problem in refused), refused
    return None


@pytest.mark.parametrize(
    ("name", "write", "read"),
    [
        *((name, write, _read_rows) for name, write in WRITERS.items()),
        *((name, write, _read_phrases) for name, write in PHRASES.items()),
    ],
    ids=[*WRITERS, *PHRASES],
)
class TestFiles:
    def test_a_good_file_is_read_whole(
        self, tmp_path: Path, name: str, write: Callable[[Rows], str], read: Callable[[Path], list[str]]
    ) -> None:
        for number in range(20):
            rows = _words(random.Random(f"{SEED} {number}"))
            (tmp_path / name).write_text(write(rows), newline="")
            assert [WORD.findall(row) for row in read(tmp_path / name)] == [WORD.findall(text) for _, text in rows]

    def test_a_mutated_file_loses_no_row_in_silence(
        self, tmp_path: Path, name: str, write: Callable[[Rows], str], read: Callable[[Path], list[str]]
    ) -> None:
        accepted = 0
        for number in range(COUNT):
            chance = random.Random(f"{SEED} {name} {number}")
            whole = write(_words(chance))
            text = _written(tmp_path, name, _mutated(chance, whole), chance.choice(ENCODINGS))
            rows = _read_or_refused(read, tmp_path / name)
            if rows is None:
                continue
            accepted += 1
            found = [set(WORD.findall(row)) for row in rows]
            assert _expected(name, text) <= set().union(*found), (number, text, rows)
            if text.count("\n") >= whole.count("\n") and name not in ("p.txt", "w.txt"):
                assert all(len(words) <= 1 for words in found), (number, text, rows)
        assert accepted > COUNT / 50, "most mutations are to be harmless or subtle, not all of them refused"
