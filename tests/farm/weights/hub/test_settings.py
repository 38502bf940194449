"""Where the hubs are and who asks them is set; a token is never shown."""

from pathlib import Path

import pytest

from farm import config
from farm.config import Settings
from farm.errors import ConfigError
from tests.farm.weights.hub.server import TOKEN


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("FARM_HF_TOKEN", "HF_TOKEN", "FARM_CIVITAI_TOKEN", "CIVITAI_TOKEN", "FARM_HF_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("FARM_DATA_DIR", str(tmp_path))


def token_of(settings: Settings) -> str | None:
    return settings.hf_token.get_secret_value() if settings.hf_token else None


def test_a_token_is_read_from_the_farms_variable_or_the_usual_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "usual")
    assert token_of(config.load_given()) == "usual"
    monkeypatch.setenv("FARM_HF_TOKEN", "own")
    assert token_of(config.load_given()) == "own"
    assert token_of(config.load_given(hf_token="override")) == "override"


def test_a_token_is_not_shown_with_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FARM_CIVITAI_TOKEN", TOKEN)
    settings = config.load_given()
    assert TOKEN not in f"{settings!r} {settings}"


def test_a_wrong_token_is_named_and_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FARM_HF_TOKEN", f"{TOKEN}\n")
    with pytest.raises(ConfigError, match=r"^FARM_HF_TOKEN: must be printable ASCII without spaces$"):
        config.load_given()


@pytest.mark.parametrize("url", ["http://hub.example", "https://me:word@hub.example", "ftp://x", "https://"])
def test_a_hub_must_have_an_https_address_without_a_password(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("FARM_HF_ENDPOINT", url)
    with pytest.raises(ConfigError, match=r"^FARM_HF_ENDPOINT: must be an https:// address") as caught:
        config.load_given()
    assert "word" not in str(caught.value).partition("without a password")[0]


def test_an_endpoint_may_end_with_a_slash() -> None:
    assert config.load_given(hf_endpoint="https://mirror.example/").hf_endpoint == "https://mirror.example"


def test_downloads_are_kept_in_the_data_folder_or_in_the_one_that_is_set(tmp_path: Path) -> None:
    assert config.load_given().download_folder == tmp_path / "downloads"
    assert config.load_given(download_dir="/big/disk").download_folder == Path("/big/disk")
