"""A model of Civitai comes as its best file, with what its page says."""

from pathlib import Path
from typing import Any

import pytest

from farm.config import Settings
from farm.weights.hub import civitai
from farm.weights.hub.download import WrongHash
from farm.weights.hub.fetch import FetchedWeights, fetch
from farm.weights.hub.sources import CivitaiSource, parse_source
from farm.weights.hub.transport import DownloadError
from tests.farm.weights.hub.server import TOKEN, FakeHub, sha256

WEIGHTS = bytes(range(256)) * 20


def file(hub: FakeHub, name: str, **about: Any) -> dict[str, Any]:
    """One entry of a version's files, whose download address works."""
    url = hub.put(f"/api/download/models/{name}", WEIGHTS)
    hashes = {"AutoV2": sha256(WEIGHTS)[:10].upper(), "SHA256": sha256(WEIGHTS).upper()}
    return {"name": name, "type": "Model", "downloadUrl": url, "hashes": hashes, **about}


def version(number: int, files: list[dict[str, Any]], **about: Any) -> dict[str, Any]:
    return {"id": number, "name": f"v{number}", "baseModel": "SD 1.5", "files": files, "trainedWords": [], **about}


def offer(hub: FakeHub, *versions: dict[str, Any], kind: str = "Checkpoint") -> None:
    hub.models[123] = {"id": 123, "name": "My Model (XL)", "type": kind, "modelVersions": list(versions)}


def test_the_newest_version_comes_with_what_its_page_says(
    hub: FakeHub, hub_settings: Settings, tmp_path: Path
) -> None:
    words = ["modelshoot style, analog style", "modelshoot style"]
    files = [file(hub, "a.safetensors", primary=True)]
    offer(hub, version(9, [], name="soon"), version(2, files, trainedWords=words), version(1, files), kind="LORA")
    fetched = fetch(parse_source("civitai:123"), hub_settings, tmp_path)
    assert fetched == FetchedWeights(
        path=tmp_path / "civitai/2/a.safetensors",
        is_folder=False,
        name_hint="a",
        origin="civitai:123@2",
        sha256=sha256(WEIGHTS),
        family_hint="sd15",
        kind_hint="lora",
        trigger_words=("modelshoot style", "analog style"),
    )


@pytest.mark.parametrize("text", ["civitai:123@1", "civitai:@1"])
def test_a_version_may_be_chosen(hub: FakeHub, hub_settings: Settings, tmp_path: Path, text: str) -> None:
    offer(hub, version(2, [file(hub, "b.ckpt")]), version(1, [file(hub, "a.ckpt")]))
    assert fetch(parse_source(text), hub_settings, tmp_path).origin == "civitai:123@1"


def test_safetensors_come_before_the_primary_file(hub: FakeHub, hub_settings: Settings) -> None:
    offer(
        hub,
        version(
            2,
            [
                file(hub, "a.vae.safetensors", type="VAE"),
                file(hub, "a.ckpt", primary=True),
                file(hub, "a.safetensors"),
                file(hub, "a.yaml", type="Config"),
            ],
        ),
    )
    assert civitai.look_up(hub_settings, CivitaiSource(123)).file_name == "a.safetensors"


def test_a_pickle_is_chosen_if_there_is_no_safetensors_file(hub: FakeHub, hub_settings: Settings) -> None:
    offer(hub, version(2, [file(hub, "b.pt"), file(hub, "a.pt", primary=True)]), kind="TextualInversion")
    found = civitai.look_up(hub_settings, CivitaiSource(123))
    assert (found.file_name, found.kind) == ("a.pt", "embedding")


@pytest.mark.parametrize(
    ("about", "family"),
    [
        ({"baseModel": "SD 1.5", "baseModelType": "Inpainting"}, "sd15-inpaint"),
        ({"baseModel": "SD 2.1 768", "baseModelType": "Standard"}, "sd2-v"),
        ({"baseModel": "Pony"}, "sdxl"),
        ({"baseModel": "Other"}, None),
    ],
)
def test_a_base_model_hints_at_a_family(
    hub: FakeHub, hub_settings: Settings, about: dict[str, str], family: str | None
) -> None:
    offer(hub, version(2, [file(hub, "a.safetensors")], **about))
    assert civitai.look_up(hub_settings, CivitaiSource(123)).family == family


def test_a_file_with_another_hash_is_refused(hub: FakeHub, hub_settings: Settings, tmp_path: Path) -> None:
    offer(hub, version(2, [file(hub, "a.safetensors", hashes={"SHA256": "AB" * 32})]))
    with pytest.raises(WrongHash):
        fetch(parse_source("civitai:123"), hub_settings, tmp_path)


def test_a_sign_in_page_names_the_token(hub: FakeHub, hub_settings: Settings, tmp_path: Path) -> None:
    offer(hub, version(2, [file(hub, "a.safetensors")]))
    hub.models[123]["modelVersions"][0]["files"][0]["downloadUrl"] = f"{hub.url}/login"
    with pytest.raises(DownloadError, match=r"is a web page instead of weights\. Set FARM_CIVITAI_TOKEN"):
        fetch(parse_source("civitai:123"), hub_settings, tmp_path)


def test_the_token_opens_api_and_file(hub: FakeHub, tmp_path: Path) -> None:
    hub.token = TOKEN
    offer(hub, version(2, [file(hub, "a.safetensors")]))
    settings = Settings(data_dir=tmp_path, civitai_endpoint=hub.url, civitai_token=TOKEN)
    assert fetch(parse_source("civitai:123"), settings, tmp_path).path.read_bytes() == WEIGHTS


def test_a_file_name_cannot_leave_its_folder(hub: FakeHub, hub_settings: Settings, tmp_path: Path) -> None:
    offer(hub, version(2, [file(hub, "a.safetensors") | {"name": "../../../evil.safetensors"}]))
    fetched = fetch(parse_source("civitai:123"), hub_settings, tmp_path)
    assert fetched.path.parent == tmp_path / "civitai" / "2"


@pytest.mark.parametrize(
    ("kind", "about", "message"),
    [
        ("Controlnet", {}, r"civitai:123@2 \(My Model \(XL\)\) is a Controlnet, which this farm cannot use"),
        ("Checkpoint", {"usageControl": "Generation"}, "may not be downloaded"),
        ("Checkpoint", {"files": [{"type": "Training Data", "downloadUrl": "https://x"}]}, "no file of weights"),
    ],
)
def test_an_unusable_model_is_refused_before_its_download(
    hub: FakeHub, hub_settings: Settings, kind: str, about: dict[str, Any], message: str
) -> None:
    offer(hub, version(2, [file(hub, "a.safetensors")]) | about, kind=kind)
    with pytest.raises(DownloadError, match=message):
        civitai.look_up(hub_settings, CivitaiSource(123, 2))


def test_a_version_of_another_model_is_refused(hub: FakeHub, hub_settings: Settings) -> None:
    offer(hub, version(2, [file(hub, "a.safetensors")]))
    with pytest.raises(DownloadError, match="version 2 belongs to model 123"):
        civitai.look_up(hub_settings, CivitaiSource(7, 2))


def test_a_model_without_files_is_refused(hub: FakeHub, hub_settings: Settings) -> None:
    offer(hub, version(2, []))
    with pytest.raises(DownloadError, match="civitai:123 has no version with files"):
        civitai.look_up(hub_settings, CivitaiSource(123))


def test_an_unknown_model_is_reported(hub_settings: Settings) -> None:
    with pytest.raises(DownloadError, match="does not exist"):
        civitai.look_up(hub_settings, CivitaiSource(404))
