"""Which files of a repository a pipeline needs: one set of weights for each component, and its configuration."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from farm.weights.hub.transport import DownloadError

Precision = Literal["full", "fp16"]
WeightsVariant = tuple[str, str | None]
"""The format of weights, and their variant (None: full precision)."""

INDEX = "model_index.json"
_PARTS = ("scheduler", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2", "unet", "vae")
"""The components that rendering needs. Left out: safety checkers with their inputs, and copies in other formats."""
_WEIGHED = ("text_encoder", "text_encoder_2", "unet", "vae")
_CONFIGURATION = (".json", ".txt", ".model")
_SINGLE_FILES = (".safetensors", ".ckpt", ".pt", ".pth", ".bin")
"""Formats of one-file weights, the best first."""

_SHARD = r"(?:-\d+-of-\d+)?"
_WEIGHTS = re.compile(
    rf"(?:diffusion_pytorch_model|pytorch_model|model){_SHARD}(?:\.(?P<variant>\w+))?{_SHARD}"
    r"\.(?P<format>safetensors|bin)(?P<index>\.index(?:\.(?P<index_variant>\w+))?\.json)?"
)


@dataclass(frozen=True)
class RepoFile:
    """One file of a revision; `sha256` is None for the small ones, which have only git's `blob_id`."""

    path: str
    size: int
    sha256: str | None
    blob_id: str

    @property
    def folder(self) -> str:
        return self.path.rpartition("/")[0]

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]

    @property
    def weights(self) -> WeightsVariant | None:
        """The kind, for weights and their index; None for every other file."""
        match = _WEIGHTS.fullmatch(self.name)
        return (match["format"], match["variant"] or match["index_variant"]) if match else None


def choose_pipeline_files(files: Iterable[RepoFile], precision: Precision = "full") -> list[RepoFile]:
    """The files of a diffusers pipeline, by their paths. Raises DownloadError if a part has no weights.

    Safetensors come before .bin, and then the wanted precision before the other one. If full precision is
    wanted and a component lacks it, all come in half precision, where they can: mixed they would load differently.
    """
    files = sorted(files, key=lambda file: file.path)
    parts = {part: [file for file in files if file.folder == part] for part in _PARTS}
    chosen = [file for file in files if file.path == INDEX]
    for inside in parts.values():
        chosen += [file for file in inside if file.weights is None and file.name.endswith(_CONFIGURATION)]
    chosen += _choose_weights(
        {part: inside for part, inside in parts.items() if inside and part in _WEIGHED}, precision
    )
    return sorted(chosen, key=lambda file: file.path)


def _choose_weights(parts: Mapping[str, Sequence[RepoFile]], precision: Precision) -> list[RepoFile]:
    for formats in (("safetensors",), ("bin",), ("safetensors", "bin")):
        sets = {part: _group_sets(inside, formats, precision) for part, inside in parts.items()}
        if sets and all(sets.values()):
            return _choose_best(list(sets.values()), precision)
    missing = [part for part, found in sets.items() if not found] or list(_WEIGHED)
    raise DownloadError(f"The repository holds no weights as .safetensors or .bin in: {', '.join(missing)}.")


def _group_sets(
    files: Sequence[RepoFile], formats: Sequence[str], precision: Precision
) -> dict[WeightsVariant, list[RepoFile]]:
    """The sets of weights in one folder, the best first; an index alone is none."""
    variants = (None, "fp16") if precision == "full" else ("fp16", None)
    kinds = [(file_format, variant) for file_format in formats for variant in variants]
    found = {kind: [file for file in files if file.weights == kind] for kind in kinds}
    return {kind: files for kind, files in found.items() if any(not file.name.endswith(".json") for file in files)}


def _choose_best(sets: Sequence[Mapping[WeightsVariant, list[RepoFile]]], precision: Precision) -> list[RepoFile]:
    shared = (kind for kind in sets[0] if all(kind in others for others in sets))
    common = next(shared, None) if precision == "full" else None
    return [file for of_part in sets for file in of_part[common or next(iter(of_part))]]


def choose_single_file(repo: str, files: Iterable[RepoFile]) -> RepoFile:
    """The one file of weights at the root of a repository; its copies in worse formats do not count.

    Raises DownloadError where there are none, or several, which it names.
    """
    best: dict[str, RepoFile] = {}
    for file in sorted(files, key=_rank):
        if not file.folder and file.name.endswith(_SINGLE_FILES):
            best.setdefault(file.name.rpartition(".")[0], file)
    if len(best) == 1:
        return next(iter(best.values()))
    if not best:
        raise DownloadError(f"hf:{repo} holds no weights: neither {INDEX} nor a {' or '.join(_SINGLE_FILES)} file.")
    choice = "\n".join(
        f"  hf:{repo}:{file.path}  ({file.size / 1e9:.2f} GB)"
        for file in sorted(best.values(), key=lambda file: file.path)
    )
    raise DownloadError(f"hf:{repo} holds several files of weights. Choose one:\n{choice}")


def _rank(file: RepoFile) -> tuple[int, str]:
    rank = next((i for i, suffix in enumerate(_SINGLE_FILES) if file.name.endswith(suffix)), len(_SINGLE_FILES))
    return rank, file.path
