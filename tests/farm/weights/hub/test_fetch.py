"""Weights from a disk or an address come with a name, and an origin that tells no secrets."""

from pathlib import Path

from farm.config import Settings
from farm.weights.hub.fetch import fetch, remove_secrets
from farm.weights.hub.sources import parse_source
from tests.farm.weights.hub.server import FakeHub, sha256

WEIGHTS = b"weights" * 1000


def test_a_file_on_this_disk_stays_where_it_is(hub_settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "Dreamy_v2.safetensors").write_bytes(WEIGHTS)
    fetched = fetch(parse_source(str(tmp_path / "Dreamy_v2.safetensors")), hub_settings, tmp_path / "downloads")
    assert (fetched.path, fetched.name_hint) == (tmp_path / "Dreamy_v2.safetensors", "Dreamy_v2")
    assert not (tmp_path / "downloads").exists()


def test_a_folder_on_this_disk_is_fetched_as_a_folder(hub_settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "SD 1.5").mkdir()
    fetched = fetch(parse_source(str(tmp_path / "SD 1.5")), hub_settings, tmp_path)
    assert (fetched.is_folder, fetched.name_hint, fetched.origin) == (True, "SD 1.5", str(tmp_path / "SD 1.5"))


def test_an_address_is_kept_with_the_hash_and_without_its_token(
    hub: FakeHub, hub_settings: Settings, tmp_path: Path
) -> None:
    url = hub.put("/My Model.safetensors".replace(" ", "_"), WEIGHTS)
    fetched = fetch(parse_source(f"{url}?dl=1&token=secret"), hub_settings, tmp_path)
    assert fetched.origin == f"{url}?dl=1#sha256={sha256(WEIGHTS)}"
    assert (fetched.path.read_bytes(), fetched.name_hint) == (WEIGHTS, "My_Model")


def test_two_addresses_with_the_same_file_name_are_kept_apart(
    hub: FakeHub, hub_settings: Settings, tmp_path: Path
) -> None:
    first = fetch(parse_source(hub.put("/a/model.ckpt", b"1" * 2000)), hub_settings, tmp_path)
    second = fetch(parse_source(hub.put("/b/model.ckpt", b"2" * 2000)), hub_settings, tmp_path)
    assert (first.path.read_bytes(), second.path.read_bytes()) == (b"1" * 2000, b"2" * 2000)


def test_secret_parameters_of_an_address_are_dropped() -> None:
    url = "https://host/f?X-Amz-Signature=1&api_key=2&Policy=3&download=true&access_token=4&Expires=5"
    assert remove_secrets(url) == "https://host/f?download=true"
