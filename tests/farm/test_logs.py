"""The log: what users send cannot forge a line of it, nor steer the terminal that shows it."""

import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from io import StringIO
from subprocess import PIPE

import pytest
import structlog

from farm import logs
from farm.config import Settings

FORGED = "2026-01-01T00:00:00Z [info     ] A line that nobody logged."

# What ends a line somewhere and what terminals obey: C0, DEL, C1, Unicode's line ends, a change of direction.
HOSTILE = [chr(code) for code in (*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029, 0x202E)]


class Tricky(Exception):
    """An error whose repr is its bare message."""

    def __repr__(self) -> str:
        return str(self)


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


@pytest.fixture
def console(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> StringIO:
    """What the log for reading says."""
    monkeypatch.setattr(sys, "stderr", said := StringIO())
    logs.configure(settings.model_copy(update={"log_format": "console"}))
    return said


@pytest.fixture
def as_json(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> StringIO:
    """What the log for machines says."""
    monkeypatch.setattr(sys, "stderr", said := StringIO())
    logs.configure(settings.model_copy(update={"log_format": "json"}))
    return said


@pytest.fixture(params=["console", "as_json"])
def either(request: pytest.FixtureRequest) -> StringIO:
    """What the log says in either format."""
    said: StringIO = request.getfixturevalue(request.param)
    return said


def lines_of(said: StringIO) -> list[str]:
    return said.getvalue().removesuffix("\n").split("\n")


def fail_with(message: str) -> None:
    """Log an error of this message, as our code does and as a library does."""
    try:
        raise Tricky(message)
    except Tricky:
        structlog.get_logger().exception("It failed.")
        logging.getLogger("a.library").exception("It failed too.")


@pytest.mark.parametrize("character", HOSTILE, ids=lambda c: f"U+{ord(c):04X}")
def test_no_control_character_reaches_the_log(either: StringIO, character: str) -> None:
    text = f"before{character}{FORGED}"
    structlog.get_logger().info(text, name=text, many=[text], error=Tricky(text))
    logging.getLogger("a.library").warning("It read %s.", text)
    lines = lines_of(either)
    assert len(lines) == 2
    assert all(line.isprintable() for line in lines)


@pytest.mark.parametrize("end", ["\n", "\r", "\x0b", "\x85", "\u2028"])
def test_an_error_message_cannot_forge_a_line(console: StringIO, end: str) -> None:
    fail_with(f"before{end}{FORGED}\x1b[2J")
    lines = lines_of(console)
    assert [line.split(" ", 1)[1] for line in lines if not line.startswith(" ")] == [
        "[error    ] It failed.",
        "[error    ] It failed too.",
    ]
    assert all(line.isprintable() for line in lines)


def test_each_line_of_a_json_log_is_one_entry_with_its_traceback(as_json: StringIO) -> None:
    fail_with(f"before\n{FORGED}\x1b[2J")
    lines = lines_of(as_json)
    entries = [json.loads(line) for line in lines]
    assert [entry["event"] for entry in entries] == ["It failed.", "It failed too."]
    assert all("Tricky: before" in entry["exception"] for entry in entries)
    assert all(line.isascii() for line in lines)


def test_ordinary_words_stay_as_they_are(console: StringIO) -> None:
    structlog.get_logger().info("Café ouvert.", name="Zoë", url="http://127.0.0.1:8420", why="two words", job_id=7)
    (line,) = lines_of(console)
    assert line.endswith("Café ouvert. job_id=7 name=Zoë url=http://127.0.0.1:8420 why='two words'")


UNREAD = """
import subprocess
import sys
from farm import logs
from farm.config import Settings
import structlog

logs.configure(Settings())
sys.stdin.read()
structlog.get_logger().info("Nobody reads this.")
print("went on")
"""


def test_a_log_whose_reader_is_gone_stops_no_work() -> None:
    program = [sys.executable, "-c", UNREAD]
    with subprocess.Popen(program, stdin=PIPE, stdout=PIPE, stderr=PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stderr.close()
        process.stdin.close()
        assert process.stdout.read() == "went on\n"
