"""The process that takes weights in; it answers with one line of JSON on standard output.

Exit code 0: the target folder is whole, and the line says what is in it. Exit code 2: the weights cannot be
used, the line says why, and nothing is left in the target.
"""

import contextlib
import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import Any

from farm.imports import uncollected
from farm.weights import header
from farm.weights.hashing import hash_file, hash_weights
from farm.weights.header import BadWeights
from farm.weights.ingest import remove_work_folders, work_folders
from workers.ingest.pickled import is_pickled
from workers.ingest.request import Outcome, Request

BAD_WEIGHTS = 2
_INGESTS = {"checkpoint": "checkpoint", "vae": "vae", "lora": "additions", "embedding": "additions"}
"""The module of each kind, imported for it alone: diffusers takes seconds, and a LoRA does not need it."""


def main(request_path: Path) -> int:
    # What libraries print must not mix with the answer.
    with contextlib.redirect_stdout(sys.stderr):
        answer = _answer(request_path)
    sys.stdout.write(json.dumps(answer) + "\n")
    return BAD_WEIGHTS if "error" in answer else 0


def _answer(request_path: Path) -> dict[str, Any]:
    try:
        request = Request.read(request_path)
        return ingest(request)
    except BadWeights as error:
        return {"error": str(error)}


def ingest(request: Request) -> dict[str, Any]:
    """Take the weights in, whole or not at all. Raises BadWeights, whose message names the source."""
    if not request.source.exists():
        raise BadWeights(f"{request.source} does not exist.")
    remove_work_folders(request.target)
    partial, scratch = work_folders(request.target)
    partial.mkdir(parents=True)
    scratch.mkdir()
    try:
        _refuse_no_weights(request.source)
        outcome = _ingest_of(request.kind)(request, partial, scratch)
        files = _describe(partial)
        partial.rename(request.target)
    except BadWeights as error:
        raise BadWeights(_named(str(error), request.source)) from error
    finally:
        remove_work_folders(request.target)
    return {**asdict(outcome), "kind": request.kind, "sha256": hash_weights(request.source), "files": files}


def _refuse_no_weights(source: Path) -> None:
    """A file that is neither safetensors nor a pickle is told before anything is imported for it."""
    if source.is_file() and not is_pickled(source):
        header.read(source)


def _ingest_of(kind: str) -> Callable[[Request, Path, Path], Outcome]:
    """(request, target, scratch folder): writes into the target and says what it found. Raises BadWeights."""
    name = f"workers.ingest.{_INGESTS[kind]}"
    if name not in sys.modules:
        with uncollected():
            import_module(name)
    ingest_kind: Callable[[Request, Path, Path], Outcome] = getattr(sys.modules[name], f"ingest_{kind}")
    return ingest_kind


def _named(message: str, source: Path) -> str:
    return message if str(source) in message else f"{source}: {message}"


def _describe(folder: Path) -> dict[str, dict[str, object]]:
    files = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    return {name: {"sha256": hash_file(path), "size": path.stat().st_size} for name, path in files.items()}
