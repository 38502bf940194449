"""Civitai: which file of a model is meant, and the metadata of its page.

The API is that of https://developer.civitai.com/site/reference/.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from farm.config import Settings
from farm.weights.hub.sources import CivitaiSource
from farm.weights.hub.transport import Access, DownloadError, get_json, open_hub_client

_KINDS: Mapping[str, str] = {
    "checkpoint": "checkpoint",
    "lora": "lora",
    "locon": "lora",
    "dora": "lora",
    "textualinversion": "embedding",
    "vae": "vae",
}

_FAMILIES: Mapping[str, str] = {
    "SD 1.4": "sd15",
    "SD 1.5": "sd15",
    "SD 1.5 LCM": "sd15",
    "SD 1.5 Hyper": "sd15",
    "SD 2.0": "sd2",
    "SD 2.1": "sd2",
    "SD 2.0 768": "sd2-v",
    "SD 2.1 768": "sd2-v",
    "SDXL 0.9": "sdxl",
    "SDXL 1.0": "sdxl",
    "SDXL 1.0 LCM": "sdxl",
    "SDXL Turbo": "sdxl",
    "SDXL Lightning": "sdxl",
    "SDXL Hyper": "sdxl",
    "Pony": "sdxl",
    "Illustrious": "sdxl",
    "NoobAI": "sdxl",
}
"""Civitai's base models, as families; one that is not listed gives no hint, and the file itself decides."""

_INPAINTING: Mapping[str, str] = {"sd15": "sd15-inpaint", "sd2": "sd2-inpaint", "sdxl": "sdxl-inpaint"}


@dataclass(frozen=True)
class CivitaiFile:
    """The file to download, and its page's metadata: `sha256` and `family` are None where the page gives none."""

    model_id: int
    version_id: int
    model_name: str
    file_name: str
    url: str
    sha256: str | None
    kind: str
    family: str | None
    trigger_words: tuple[str, ...]


def access_to(settings: Settings) -> Access:
    token = settings.civitai_token.get_secret_value() if settings.civitai_token else None
    return Access(settings.civitai_endpoint, token, "FARM_CIVITAI_TOKEN")


def look_up(settings: Settings, source: CivitaiSource) -> CivitaiFile:
    """The file that a source means: of its version, or of the newest. Raises DownloadError."""
    base = f"{settings.civitai_endpoint}/api/v1"
    if source.version_id is None:
        model = _get(settings, f"{base}/models/{source.model_id}")
        version, model_id = _find_newest_version(model, source), source.model_id
    else:
        version = _get(settings, f"{base}/model-versions/{source.version_id}")
        model, model_id = version.get("model") or {}, version.get("modelId")
        if source.model_id not in (None, model_id):
            raise DownloadError(f"{source}: version {source.version_id} belongs to model {model_id}.")
    return _describe(int(model_id or 0), model, version)


def _get(settings: Settings, url: str) -> dict[str, Any]:
    with open_hub_client() as client:
        answer, _ = get_json(client, url, access_to(settings))
    if not isinstance(answer, dict) or "id" not in answer:
        raise DownloadError(f"{url} did not answer as Civitai does. Is FARM_CIVITAI_ENDPOINT right?")
    return answer


def _find_newest_version(model: dict[str, Any], source: CivitaiSource) -> dict[str, Any]:
    """The newest version that has files: Civitai lists them newest first."""
    for version in model.get("modelVersions") or []:
        if version.get("files"):
            found: dict[str, Any] = version
            return found
    raise DownloadError(f"{source} has no version with files.")


def _describe(model_id: int, model: dict[str, Any], version: dict[str, Any]) -> CivitaiFile:
    name = f"civitai:{model_id}@{version.get('id')} ({model.get('name')})"
    kind = _KINDS.get(str(model.get("type", "")).lower())
    if kind is None:
        raise DownloadError(f"{name} is a {model.get('type')}, which this farm cannot use.")
    if version.get("usageControl", "Download") != "Download":
        raise DownloadError(f"{name} may not be downloaded; its author allows its use on Civitai only.")
    file = _choose_file(name, kind, version.get("files") or [])
    sha256 = (file.get("hashes") or {}).get("SHA256")
    return CivitaiFile(
        model_id=model_id,
        version_id=int(version["id"]),
        model_name=str(model.get("name", model_id)),
        file_name=str(file.get("name", "")),
        url=str(file["downloadUrl"]),
        sha256=sha256.lower() if sha256 else None,
        kind=kind,
        family=_find_family(version),
        trigger_words=_split_trigger_words(version.get("trainedWords") or []),
    )


def _choose_file(name: str, kind: str, files: list[dict[str, Any]]) -> dict[str, Any]:
    """The primary file, if it is safetensors; else another one that is; else the primary one."""
    types = ("Model", "Pruned Model", "VAE") if kind == "vae" else ("Model", "Pruned Model")
    usable = [file for file in files if file.get("type", "Model") in types and file.get("downloadUrl")]
    if not usable:
        raise DownloadError(f"{name} has no file of weights to download.")
    return max(usable, key=lambda file: (_is_safetensors(file), bool(file.get("primary"))))


def _is_safetensors(file: dict[str, Any]) -> bool:
    return str(file.get("name", "")).lower().endswith(".safetensors")


def _find_family(version: dict[str, Any]) -> str | None:
    family = _FAMILIES.get(str(version.get("baseModel")))
    is_inpainting = str(version.get("baseModelType")).lower() == "inpainting"
    return _INPAINTING.get(family, family) if family and is_inpainting else family


def _split_trigger_words(trained: list[Any]) -> tuple[str, ...]:
    """The trigger words: an entry may be several, separated by commas."""
    words = (word.strip() for entry in trained for word in str(entry).split(","))
    return tuple(dict.fromkeys(word for word in words if word))
