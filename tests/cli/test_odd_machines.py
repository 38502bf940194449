"""The command on machines and consoles that are not as usual: it works, or says why not in a sentence."""

import os
import stat
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from farm import config
from farm.cli import unexpected
from farm.cli.console import find_portal
from farm.errors import ConfigError
from tests.cli.conftest import type_farm

PRESETS = "checkpoints presets"


def run(
    command: str, redirected: str = "", environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the command in a shell, its streams redirected."""
    line = f'exec "$0" -m farm {command} {redirected}'
    settings = {**os.environ, **(environment or {})}
    return subprocess.run(
        ["sh", "-c", line, sys.executable], capture_output=True, text=True, env=settings, check=False
    )


class TestWhere:
    def test_a_data_folder_without_a_farm_is_reported_whatever_listens_elsewhere(self, tmp_path: Path) -> None:
        said = type_farm({"FARM_DATA_DIR": str(tmp_path)}, "jobs")
        assert said.exit_code == 2
        assert said.stderr.startswith(f"farm: No farm runs in FARM_DATA_DIR={tmp_path}.")

    def test_the_usual_port_is_asked_if_no_data_folder_is_named(self) -> None:
        assert find_portal(config.load_given(port=7)) == "http://127.0.0.1:7"

    def test_the_usual_port_is_asked_if_a_database_url_is_given_beside_a_data_folder(self, tmp_path: Path) -> None:
        given = config.load_given(data_dir=tmp_path, database_url="postgresql://farm@db/farm")
        assert find_portal(given) == "http://127.0.0.1:8420"


class TestFolder:
    def test_a_tilde_in_the_data_folder_is_expanded(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setenv("HOME", str(tmp_path))
        assert config.load_given(data_dir="~/farm").data_dir == tmp_path / "farm"

    def test_a_relative_data_folder_is_taken_from_the_current_folder(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.chdir(tmp_path)
        assert config.load_given(data_dir="farm").data_dir == tmp_path / "farm"

    def test_the_home_of_an_unknown_user_is_refused(self) -> None:
        with pytest.raises(ConfigError, match="names the home of a user who has none here"):
            config.load_given(data_dir="~no-such-user/farm")

    def test_a_user_without_a_home_is_asked_to_name_a_data_folder(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("HOME", "XDG_DATA_HOME"):
            monkeypatch.delenv(name, raising=False)
        for name in ("getuid", "geteuid"):
            monkeypatch.setattr(os, name, lambda: 54321)
        with pytest.raises(ConfigError, match="FARM_DATA_DIR is not set, and this user has no home"):
            config.load_given()

    def test_a_current_folder_that_is_gone_is_reported(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        (tmp_path / "gone").mkdir()
        monkeypatch.chdir(tmp_path / "gone")
        (tmp_path / "gone").rmdir()
        with pytest.raises(ConfigError, match="from the current folder, which is gone"):
            config.load_given(data_dir="farm")

    def test_a_data_folder_that_cannot_be_made_is_reported(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        said = type_farm({"FARM_DATA_DIR": str(tmp_path / "file" / "data")}, "up")
        assert said.exit_code == 2
        assert "cannot be used: Not a directory" in said.stderr


class TestStreams:
    @pytest.mark.parametrize("command", [PRESETS, "--help"])
    def test_a_full_disk_behind_the_output_is_reported(self, command: str) -> None:
        ran = run(command, "> /dev/full")
        assert (ran.returncode, ran.stderr) == (1, "farm: The output cannot be written: No space left on device.\n")

    @pytest.mark.parametrize("closed", [">&-", "<&- >&-", "<&- >&- 2>&-"])
    def test_closed_streams_are_no_error(self, closed: str) -> None:
        ran = run(PRESETS, closed)
        assert (ran.returncode, ran.stderr) == (0, "")

    def test_a_reader_that_closes_its_pipe_early_is_no_error(self) -> None:
        assert run(PRESETS, "| head -1").stderr == ""

    def test_characters_that_a_console_cannot_show_are_escaped(self, tmp_path: Path) -> None:
        ran = run("jobs", environment={"PYTHONIOENCODING": "latin-1", "FARM_DATA_DIR": str(tmp_path / "ไทย")})
        assert ran.returncode == 2
        assert r"\u0e44\u0e17\u0e22" in ran.stderr


class TestMishaps:
    def test_an_unforeseen_error_is_reported_in_a_sentence_without_a_traceback(self, tmp_path: Path) -> None:
        """Here: an installation of which a module is missing."""
        broken = (
            "import sys; sys.modules['farm.cli.listings'] = None; from farm.cli.main import main; main(['jobs'])"
        )
        settings = {**os.environ, "FARM_DATA_DIR": str(tmp_path)}
        ran = subprocess.run(
            [sys.executable, "-c", broken], capture_output=True, text=True, env=settings, check=False
        )
        assert ran.returncode == 1
        assert ran.stderr.startswith("farm: An unexpected error occurred (ModuleNotFoundError: ")
        assert "Traceback" not in ran.stderr

    def test_the_file_with_the_traceback_is_readable_by_its_owner_alone(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "logs").mkdir()
        monkeypatch.setenv("FARM_DATA_DIR", str(tmp_path))
        unexpected.explain_error(KeyError("x\x1b[2J"))
        [kept] = (tmp_path / "logs").iterdir()
        assert stat.S_IMODE(kept.stat().st_mode) == 0o600
        assert "KeyError" in kept.read_text()

    def test_a_message_cannot_command_the_terminal(self) -> None:
        assert "\x1b" not in unexpected.explain_error(RuntimeError("\x1b[2J"))

    def test_a_file_that_cannot_be_written_is_named_in_the_message(self) -> None:
        error = PermissionError(13, "Permission denied", "/a/b")
        assert unexpected.explain_error(error) == "/a/b: Permission denied."
