"""Settings come from one place, and a wrong one is named."""

import fcntl
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from farm import config
from farm.config import Settings
from farm.errors import ConfigError
from farm.network.runningfarm import LOCK_FILE, RUNNING_FILE

RUNNING = {
    "database_url": "postgresql://running/farm",
    "redis_url": "redis://running/0",
    "store_url": "file:///running",
    "url": "http://127.0.0.1:9999",
    "secret_key": "the key of the running farm",
}


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(f"FARM_{name.upper()}", raising=False)
    monkeypatch.setenv("FARM_DATA_DIR", str(tmp_path))


@pytest.fixture
def running_farm(tmp_path: Path) -> Iterator[None]:
    """A farm that runs on the data folder: it holds the lock and wrote its addresses down."""
    (tmp_path / RUNNING_FILE).write_text(json.dumps(RUNNING))
    with (tmp_path / LOCK_FILE).open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


class TestPrecedence:
    def test_a_setting_that_nothing_sets_has_its_default(self) -> None:
        settings = config.load()
        assert (settings.port, settings.pool, settings.database_url) == (8420, "default", None)

    def test_the_environment_wins_over_a_default(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("FARM_PORT", "9000")
        assert config.load().port == 9000

    def test_an_override_wins_over_the_environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("FARM_PORT", "9000")
        assert config.load(port=9001).port == 9001

    @pytest.mark.usefixtures("running_farm")
    def test_an_address_that_is_not_set_comes_from_the_running_farm(self) -> None:
        settings = config.load()
        assert {name: getattr(settings, name) for name in RUNNING} == RUNNING

    @pytest.mark.usefixtures("running_farm")
    def test_the_environment_wins_over_the_running_farm(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("FARM_URL", "http://elsewhere")
        assert config.load().url == "http://elsewhere"

    @pytest.mark.usefixtures("running_farm")
    def test_the_parts_of_two_farms_are_never_mixed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("FARM_DATABASE_URL", "postgresql://elsewhere/farm")
        settings = config.load()
        assert (settings.redis_url, settings.store_url, settings.secret_key) == (None, None, None)

    @pytest.mark.usefixtures("running_farm")
    def test_the_command_that_starts_a_farm_does_not_look_for_one(self) -> None:
        assert config.load_given().database_url is None

    def test_addresses_that_a_crashed_farm_left_are_not_used(self, tmp_path: Path) -> None:
        (tmp_path / RUNNING_FILE).write_text(json.dumps(RUNNING))
        (tmp_path / LOCK_FILE).touch()
        assert config.load().database_url is None

    @pytest.mark.usefixtures("running_farm")
    def test_a_torn_file_of_addresses_is_no_farm(self, tmp_path: Path) -> None:
        (tmp_path / RUNNING_FILE).write_text('{"database_url": "postg')
        assert config.load().database_url is None

    @pytest.mark.usefixtures("running_farm")
    def test_only_addresses_are_taken_from_the_running_farm(self, tmp_path: Path) -> None:
        (tmp_path / RUNNING_FILE).write_text(json.dumps({**RUNNING, "max_attempts": 20, "pool": "other"}))
        assert (config.load().max_attempts, config.load().pool) == (3, "default")


class TestMistakes:
    @pytest.mark.parametrize(
        ("name", "value", "message"),
        [
            ("FARM_PORT", "99999", "FARM_PORT='99999': Input should be less than or equal to 65535"),
            ("FARM_LEASE_SECONDS", "soon", "FARM_LEASE_SECONDS='soon': Input should be a valid number"),
            ("FARM_RELOAD_SHARE", "3%", "FARM_RELOAD_SHARE='3%': Input should be a valid number"),
            ("FARM_RELOAD_SHARE", "nan", "FARM_RELOAD_SHARE='nan': Input should be less than or equal to 0.5"),
            ("FARM_RESIDENT_BYTES", "8GB", "FARM_RESIDENT_BYTES='8GB': must be a whole number of bytes without a"),
            ("FARM_MAX_BATCH", "3", "FARM_MAX_BATCH='3': must be one of 1, 2, 4, 8, 16"),
            ("FARM_POOL", "A Pool", "FARM_POOL='A Pool': String should match pattern"),
            ("FARM_PRECISION", "fp8", "FARM_PRECISION='fp8': Input should be 'auto', 'fp32', 'fp16' or 'bf16'"),
            (
                "FARM_DATABASE_URL",
                "mysql://h/db",
                "FARM_DATABASE_URL: must begin with postgresql:// or postgres://",
            ),
            ("FARM_REDIS_URL", "h:6379", "FARM_REDIS_URL: must begin with redis:// or rediss:// or unix://"),
            ("FARM_STORE_URL", "/images", "FARM_STORE_URL: must begin with s3:// or file://"),
            ("FARM_SECRET_KEY", "short", "FARM_SECRET_KEY: String should have at least 16 characters"),
        ],
    )
    def test_a_bad_value_names_its_variable(
        self, monkeypatch: pytest.MonkeyPatch, name: str, value: str, message: str
    ) -> None:
        monkeypatch.setenv(name, value)
        with pytest.raises(ConfigError) as refusal:
            config.load()
        assert str(refusal.value).startswith(message)

    def test_all_bad_values_are_named_at_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("FARM_PORT", "x")
        monkeypatch.setenv("FARM_MAX_ATTEMPTS", "0")
        with pytest.raises(ConfigError) as refusal:
            config.load()
        assert [line.partition("=")[0] for line in str(refusal.value).split("\n")] == [
            "FARM_PORT",
            "FARM_MAX_ATTEMPTS",
        ]

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("FARM_DATABASE_URL", "mysql://farm:hunter2@host/db"),
            ("FARM_DATABASE_URL", "postgresql://farm:hunter2@[host/db"),
            ("FARM_DATABASE_URL", "postgresql://farm:hunter2℀@host/db"),
            ("FARM_REDIS_URL", "http://:hunter2@host"),
            ("FARM_SECRET_KEY", "hunter2"),
        ],
    )
    def test_a_password_is_never_shown(self, monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
        monkeypatch.setenv(name, value)
        with pytest.raises(ConfigError, match=name) as refusal:
            config.load()
        assert "hunter2" not in str(refusal.value)

    @pytest.mark.parametrize("part", ["database_url", "redis_url", "store_url"])
    def test_a_missing_address_is_explained(self, tmp_path: Path, part: str) -> None:
        with pytest.raises(ConfigError) as refusal:
            getattr(config.load(), f"required_{part}")
        assert str(refusal.value) == (
            f"FARM_{part.upper()} is not set and no farm runs in {tmp_path}. "
            "Start one with `farm up`, or set the variable."
        )

    def test_settings_are_immutable(self) -> None:
        with pytest.raises(ValueError, match="frozen"):
            config.load().port = 1


@pytest.mark.parametrize(("lease_seconds", "heartbeat_seconds"), [(4, 1), (12, 3), (3600, 3)])
def test_a_lease_outlives_three_lost_heartbeats(lease_seconds: float, heartbeat_seconds: float) -> None:
    assert config.load(lease_seconds=lease_seconds).heartbeat_seconds == heartbeat_seconds
