"""Ingests weights: a process with torch reads the source and writes it in the one form that is stored."""

import json
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from farm.errors import FarmError
from farm.processes import programs
from farm.weights.files.header import BadWeights
from farm.weights.files.sourcefiles import inspect_source_files

_BAD_WEIGHTS = 2
# Room for slow disks: weights are read three times, and written once.
_SECONDS, _SECONDS_PER_GIB = 1800.0, 1200.0


class IngestFailed(FarmError):
    """The process that ingests weights ended without an answer."""


@dataclass(frozen=True)
class IngestRequest:
    """`kind` is checkpoint, vae, embedding or lora; `target` a folder that is not there yet.

    `family` decides what the weights leave open. `tokenizer` and `clip_vocabulary` are folders with CLIP's
    vocabulary, for single files; `vae` goes with a checkpoint that has none, or instead of its own.
    """

    kind: str
    source: Path
    target: Path
    family: str | None = None
    tokenizer: Path | None = None
    clip_vocabulary: Path | None = None
    vae: Path | None = None


@dataclass(frozen=True)
class IngestedFile:
    sha256: str
    size: int


@dataclass(frozen=True)
class IngestReport:
    """The content of the target. `sha256` is that of the source, as the WebUI computes it for a file.

    `family` is None for a LoRA or an embedding that does not show it, `prediction_type` for all but checkpoints.
    """

    kind: str
    family: str | None
    sha256: str
    files: Mapping[str, IngestedFile]
    prediction_type: str | None
    warnings: tuple[str, ...]


def ingest(request: IngestRequest, *, timeout_seconds: float | None = None) -> IngestReport:
    """Ingest the weights, completely or not at all. Raises BadWeights with the mistake, or IngestFailed.

    Without a timeout they get the time that their size may need.
    """
    if timeout_seconds is None:
        size = inspect_source_files(request.source).byte_count
        timeout_seconds = _SECONDS + _SECONDS_PER_GIB * (size / 2**30)
    with tempfile.TemporaryDirectory(prefix="farm-ingest-") as folder:
        path = Path(folder) / "request.json"
        path.write_text(json.dumps(asdict(request), default=str))
        try:
            done = _run(path, timeout_seconds)
        except subprocess.TimeoutExpired as error:
            remove_work_folders(request.target)
            raise IngestFailed(
                f"{request.source} was not ingested within {timeout_seconds:.0f} s. Is the disk slow? Try again."
            ) from error
    return _read_answer(done, request)


def _run(path: Path, timeout_seconds: float) -> subprocess.CompletedProcess[str]:
    """Run the ingest without settings and secrets, with a temporary folder of its own for what libraries write."""
    variables = {
        "TMPDIR": str(path.parent),
        "HF_HOME": str(path.parent),
        "HF_HUB_OFFLINE": "1",
        "CUDA_VISIBLE_DEVICES": "",
        # Threads have memory of their own, and there is nothing to compute.
        "OMP_NUM_THREADS": "1",
    }
    return subprocess.run(
        programs.build_command("workers.ingest", str(path)),
        env=programs.strip_environment(variables),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=timeout_seconds,
        check=False,
    )


def _read_answer(done: subprocess.CompletedProcess[str], request: IngestRequest) -> IngestReport:
    if done.returncode not in (0, _BAD_WEIGHTS) or not done.stdout.strip():
        remove_work_folders(request.target)
        raise IngestFailed(f"{request.source} could not be ingested: {_explain_exit(done)}")
    answer = json.loads(done.stdout)
    if done.returncode == _BAD_WEIGHTS:
        raise BadWeights(answer["error"])
    return IngestReport(
        kind=answer["kind"],
        family=answer["family"],
        sha256=answer["sha256"],
        files={name: IngestedFile(**file) for name, file in answer["files"].items()},
        prediction_type=answer["prediction_type"],
        warnings=tuple(answer["warnings"]),
    )


def _explain_exit(done: subprocess.CompletedProcess[str]) -> str:
    """Why the process ended without an answer."""
    if done.returncode == -signal.SIGXCPU:
        return "it takes more processor time than its size accounts for."
    if done.returncode < 0:
        return f"the process that read it was killed by {signal.Signals(-done.returncode).name}."
    return done.stderr.strip().rpartition("\n")[2] or f"exit code {done.returncode}"


def work_folders(target: Path) -> tuple[Path, Path]:
    """The folders that the target is built in and that pickles are converted in: a rename completes the target."""
    return target.with_name(f"{target.name}.part"), target.with_name(f"{target.name}.scratch")


def remove_work_folders(target: Path) -> None:
    for folder in work_folders(target):
        shutil.rmtree(folder, ignore_errors=True)
