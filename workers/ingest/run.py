"""The process that takes weights in; it answers with one line of JSON on standard output.

Exit code 0: the target folder is whole, and the line says what is in it. Exit code 2: the weights cannot be
used, the line says why, and nothing is left in the target.
"""

import contextlib
import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import Any

from farm.imports import pause_garbage_collection
from farm.processes.confinement import confine, end_with_parent
from farm.weights.files import header
from farm.weights.files.hashing import hash_file, hash_weights
from farm.weights.files.header import BadWeights
from farm.weights.files.sourcefiles import SourceFiles, inspect_source_files
from farm.weights.ingest import remove_work_folders, work_folders
from workers.ingest.opening.pickled import is_pickled, unpickle_all
from workers.ingest.request import Outcome, Request

BAD_WEIGHTS = 2
_SPARE_BYTES = 3 << 30
_CPU_SECONDS, _CPU_SECONDS_PER_GIB = 600, 240
_NO_MEMORY = "can't allocate memory"

ShutIn = Callable[[Request, Sequence[SourceFiles]], None]
"""Confines this process to what a request needs."""

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
        return ingest(request, _shut_in)
    except BadWeights as error:
        return {"error": str(error)}
    except (MemoryError, RuntimeError) as error:
        # torch raises the second where it gets no memory.
        if isinstance(error, RuntimeError) and _NO_MEMORY not in str(error):
            raise
        return {"error": f"{request.source} needs more memory than its size accounts for: refused."}


def ingest(request: Request, shut_in: ShutIn = lambda *_: None) -> dict[str, Any]:
    """Take the weights in, whole or not at all. Raises BadWeights, whose message names the source.

    `shut_in` confines the process once nothing more has to be started, and before a file is read in it.
    """
    stocks = [inspect_source_files(path) for path in (request.source, request.vae, *request.vocabulary) if path]
    remove_work_folders(request.target)
    partial, scratch = work_folders(request.target)
    partial.mkdir(parents=True)
    scratch.mkdir()
    try:
        gaps = unpickle_all(request, scratch)
        shut_in(request, stocks)
        _refuse_no_weights(request.source)
        outcome = _ingest_of(request.kind)(request, partial, scratch)
        files = _describe(partial)
        partial.rename(request.target)
    except BadWeights as error:
        raise BadWeights(_named(str(error), request.source)) from error
    finally:
        remove_work_folders(request.target)
    found = {**asdict(outcome), "warnings": (*gaps, *outcome.warnings)}
    return {**found, "kind": request.kind, "sha256": hash_weights(request.source), "files": files}


def _shut_in(request: Request, stocks: Sequence[SourceFiles]) -> None:
    """What reads tensors and JSON runs nothing of them; it is confined all the same, and bounded by their size."""
    size = sum(stock.byte_count for stock in stocks)
    end_with_parent()
    confine(
        read=[place for stock in stocks for place in stock.places],
        write=[request.target.parent, Path(tempfile.gettempdir())],
        memory_bytes=_SPARE_BYTES + 3 * size,
        seconds=_CPU_SECONDS + _CPU_SECONDS_PER_GIB * (size >> 30),
    )


def _refuse_no_weights(source: Path) -> None:
    """A file that is neither safetensors nor a pickle is refused before anything is imported for it."""
    if source.is_file() and not is_pickled(source):
        header.read(source)


def _ingest_of(kind: str) -> Callable[[Request, Path, Path], Outcome]:
    """(request, target, scratch folder): writes into the target and says what it found. Raises BadWeights."""
    name = f"workers.ingest.{_INGESTS[kind]}"
    if name not in sys.modules:
        with pause_garbage_collection():
            import_module(name)
    ingest_kind: Callable[[Request, Path, Path], Outcome] = getattr(sys.modules[name], f"ingest_{kind}")
    return ingest_kind


def _named(message: str, source: Path) -> str:
    return message if str(source) in message else f"{source}: {message}"


def _describe(folder: Path) -> dict[str, dict[str, object]]:
    files = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    return {name: {"sha256": hash_file(path), "size": path.stat().st_size} for name, path in files.items()}
