"""The data folder of `farm up`."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from farm.embedded.folder import DataFolder, write_private
from farm.errors import ConfigError
from farm.network.runningfarm import LOCK_FILE, RUNNING_FILE, running_farm


@pytest.fixture
def taken(tmp_path: Path) -> Iterator[DataFolder]:
    folder = DataFolder(tmp_path / "data")
    folder.take()
    yield folder
    folder.release()


def test_the_data_folder_is_private_and_owned_by_its_user(taken: DataFolder) -> None:
    state = taken.path.stat()
    assert (state.st_mode & 0o777, state.st_uid) == (0o700, os.geteuid())


def test_a_folder_that_workers_of_another_farm_used_is_taken(tmp_path: Path) -> None:
    (tmp_path / "spool" / "1f").mkdir(parents=True)
    folder = DataFolder(tmp_path)
    folder.take()
    folder.release()


def test_a_folder_of_somebody_else_is_refused_and_left_as_it_was(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "thesis.txt").touch()
    with pytest.raises(ConfigError, match="not empty and was not made by a farm"):
        DataFolder(tmp_path).take()
    assert tmp_path.stat().st_mode & 0o777 == 0o755


def test_a_folder_in_use_is_refused_with_the_portals_address(taken: DataFolder) -> None:
    taken.write_addresses({"url": "http://127.0.0.1:8420"})
    with pytest.raises(ConfigError, match=r"already running.*http://127\.0\.0\.1:8420"):
        DataFolder(taken.path).take()


def test_addresses_are_found_while_the_folder_is_in_use_and_gone_afterwards(taken: DataFolder) -> None:
    taken.write_addresses({"url": "http://127.0.0.1:8420"})
    assert running_farm(taken.path) == {"url": "http://127.0.0.1:8420"}
    taken.release()
    assert running_farm(taken.path) == {}


def test_addresses_that_a_killed_farm_left_are_taken_away(tmp_path: Path) -> None:
    (tmp_path / LOCK_FILE).touch()
    (tmp_path / RUNNING_FILE).write_text('{"url": "http://127.0.0.1:1"}')
    folder = DataFolder(tmp_path)
    folder.take()
    assert running_farm(tmp_path) == {}
    folder.release()


def test_the_secret_key_is_made_once_and_readable_by_its_owner_alone(taken: DataFolder) -> None:
    assert taken.secret_key() == taken.secret_key()
    assert (taken.path / "secret.key").stat().st_mode & 0o777 == 0o600


def test_a_private_file_is_never_half_written(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    write_private(path, "first")
    with pytest.raises(TypeError):
        write_private(path, None)  # type: ignore[arg-type]
    assert path.read_text() == "first"


def test_a_long_path_gets_a_short_folder_for_sockets_that_goes_with_it(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path / ("deep" * 20))
    folder.take()
    sockets = folder.socket_folder(folder.path / "redis")
    assert len(str(sockets)) < 40
    folder.release()
    assert not sockets.exists()
