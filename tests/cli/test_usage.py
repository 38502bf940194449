"""What the command says where no farm runs."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import click
import pytest
from click.testing import Result

from farm import __version__
from farm.cli.main import main
from tests.cli.conftest import type_farm

NOWHERE = "http://127.0.0.1:1"


@pytest.fixture
def anything_but_a_portal() -> Iterator[str]:
    """A web server that answers everything with a page."""

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"<h1>Welcome</h1>")

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        threading.Thread(target=server.serve_forever).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def typed(tmp_path: Path, *arguments: str, **settings: str) -> Result:
    return type_farm({"FARM_DATA_DIR": str(tmp_path), **settings}, *arguments)


def commands(group: click.Group = main, *path: str) -> Iterator[tuple[str, ...]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        yield (*path, name)
        if isinstance(command, click.Group):
            yield from commands(command, *path, name)


@pytest.mark.parametrize("command", [(), *commands()], ids=" ".join)
@pytest.mark.parametrize("option", ["-h", "--help"])
def test_every_command_explains_itself(tmp_path: Path, command: tuple[str, ...], option: str) -> None:
    said = typed(tmp_path, *command, option)
    assert said.exit_code == 0
    assert said.stdout.startswith(f"Usage: main {' '.join(command)}".strip())


@pytest.mark.parametrize("command", list(commands()), ids=" ".join)
def test_every_command_has_a_first_sentence(command: tuple[str, ...]) -> None:
    group: click.Command = main
    for name in command:
        assert isinstance(group, click.Group)
        found = group.get_command(click.Context(group), name)
        assert found is not None
        group = found
    assert (group.help or "").split("\n\n")[0].endswith(".")


def test_the_version_is_printed(tmp_path: Path) -> None:
    assert typed(tmp_path, "--version").stdout == f"farm, version {__version__}\n"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("nothing", "No such command 'nothing'"),
        ("job", "Missing argument 'ID'"),
        ("job seven", "'seven' is not a valid integer"),
        ("jobs --status lost", "'lost' is not one of 'active', 'paused'"),
        ("jobs --limit 0", "0 is not in the range 1<=x<=200"),
        ("priority 1 101", "101 is not in the range 0<=x<=100"),
        ("submit", "prompts: give a prompt, or a file of prompts with --file"),
        ("submit a --steps many", "'many' is not a valid integer"),
        ("submit a --file .", "is a directory"),
        ("up --port 70000", "70000 is not in the range"),
        ("up --download folder", "--download and --stop-when-done go with --demo."),
        ("users weight ana nan", "'nan' is not a number."),
        ("users weight ana none", "'none' is not a valid float range."),
        ("projects weight film 0", "0.0 is not in the range 0.001<=x<=1000."),
        ("checkpoints add demo nowhere", "unexpected extra argument (nowhere)"),
    ],
)
def test_wrong_usage_is_reported_with_exit_code_2(tmp_path: Path, line: str, message: str) -> None:
    said = typed(tmp_path, *line.split(), FARM_URL=NOWHERE)
    assert (said.exit_code, said.stdout) == (2, "")
    assert message in said.stderr


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--sampler Eulr", "sampler: unknown sampler 'Eulr'; did you mean 'Euler'?"),
        ("--width 70", "width: must be a multiple of 8; the nearest are 64 and 72"),
        ("--steps 0", "num_inference_steps: input should be greater than or equal to 1"),
        ("--deadline tomorrow", "deadline: must be a time with its zone, like 2030-01-31T08:00:00Z"),
        ("--priority 500", "priority: input should be less than or equal to 100"),
    ],
)
def test_a_bad_request_is_refused_before_it_is_sent(tmp_path: Path, line: str, message: str) -> None:
    said = typed(tmp_path, "submit", "a fox", *line.split(), FARM_URL=NOWHERE)
    assert said.exit_code == 2
    assert said.stderr.startswith("The request is refused; nothing was stored:\n")
    assert f"  {message}" in said.stderr


def test_all_mistakes_of_a_request_are_reported_at_once(tmp_path: Path) -> None:
    said = typed(tmp_path, "submit", "a", "--width", "70", "--steps", "0", "--seed", "-2", FARM_URL=NOWHERE)
    assert [line.split(":")[0].strip() for line in said.stderr.splitlines()[1:]] == [
        "width",
        "num_inference_steps",
        "seed",
    ]


@pytest.mark.parametrize("command", ["jobs", "job 1", "workers", "cancel 1", "watch 1", "submit a", "download 1 d"])
def test_a_portal_that_does_not_answer_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setattr("farm.cli.watching._PATIENCE_SECONDS", -1)
    said = typed(tmp_path, *command.split(), FARM_URL=NOWHERE)
    assert said.exit_code == 1
    assert said.stderr == (
        "farm: The portal at http://127.0.0.1:1 does not answer ([Errno 111] Connection refused). "
        "Is the farm up? Set FARM_URL if it is elsewhere.\n"
    )


def test_a_server_that_is_no_portal_is_recognised(tmp_path: Path, anything_but_a_portal: str) -> None:
    said = typed(tmp_path, "jobs", FARM_URL=anything_but_a_portal)
    assert said.exit_code == 1
    assert said.stderr.endswith("is not that of a farm's portal. Is FARM_URL right?\n")


@pytest.mark.parametrize("command", ["checkpoints list", "users add ann", "db upgrade", "keeper"])
def test_a_data_folder_without_a_running_farm_is_reported(tmp_path: Path, command: str) -> None:
    said = typed(tmp_path, *command.split())
    assert said.exit_code == 2
    assert said.stderr.startswith(f"farm: FARM_DATABASE_URL is not set and no farm runs in {tmp_path}.")


@pytest.mark.parametrize("command", ["checkpoints list", "users add ann", "db upgrade"])
def test_a_database_that_does_not_answer_is_reported_in_a_line(tmp_path: Path, command: str) -> None:
    said = typed(tmp_path, *command.split(), FARM_DATABASE_URL="postgresql://farm:hunter2@127.0.0.1:1/farm")
    assert said.exit_code == 1
    assert said.stderr.startswith("farm: Postgres failed or refused: connection failed")
    assert said.stderr.count("\n") == 1
    assert "hunter2" not in said.output


def test_a_bad_setting_is_named(tmp_path: Path) -> None:
    said = typed(tmp_path, "jobs", FARM_PORT="many")
    assert said.exit_code == 2
    assert "FARM_PORT='many'" in said.stderr


def test_a_demo_on_a_portal_that_asks_for_keys_needs_one(tmp_path: Path) -> None:
    said = typed(tmp_path, "up", "--demo", FARM_TRUSTED_PROXIES="127.0.0.1")
    assert said.exit_code == 2
    assert "set FARM_API_KEY" in said.stderr
