"""The keys of objects in the store: the one module that writes them and reads them.

| key | what lies there |
|---|---|
| `results/JOB/TASK-ATTEMPT.SUFFIX` | a rendered image |
| `thumbnails/JOB/TASK-ATTEMPT.SUFFIX` | the small copy of one |
| `inputs/SHA256.png` | a picture or mask that a user sent |
| `grids/JOB/NUMBER-TOKEN.png` | a labelled picture of a sweep; each drawing has a token of its own |
| `weights/SHA256` | a file of a checkpoint, VAE, embedding or LoRA |

Keys stand in the databases of running farms: a format never changes, a new one is added beside it.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

INPUTS = "inputs/"
GRIDS = "grids/"
WEIGHTS = "weights/"
"""What all keys of one kind begin with, to list or select them."""

RenderedRole = Literal["result", "thumbnail"]


@dataclass(frozen=True)
class RenderedKey:
    """The key of what one attempt rendered. `suffix` is that of the file's format, with its dot."""

    role: RenderedRole
    job_id: int
    task_id: int
    attempt: int
    suffix: str

    def __str__(self) -> str:
        return f"{self.role}s/{self.job_id}/{self.task_id}-{self.attempt}{self.suffix}"


@dataclass(frozen=True)
class InputKey:
    """The key of a picture or mask that a user sent."""

    sha256: str

    def __str__(self) -> str:
        return f"{INPUTS}{self.sha256}.png"


@dataclass(frozen=True)
class GridKey:
    """The key of one drawing of a job's grid. `token` is 16 random hex digits."""

    job_id: int
    number: int
    token: str

    def __str__(self) -> str:
        return f"{GRIDS}{self.job_id}/{self.number}-{self.token}.png"


@dataclass(frozen=True)
class WeightsKey:
    """The key of one file of weights."""

    sha256: str

    def __str__(self) -> str:
        return f"{WEIGHTS}{self.sha256}"


ObjectKey = RenderedKey | InputKey | GridKey | WeightsKey


def rendered_key(role: RenderedRole, *, job_id: int, task_id: int, attempt: int, suffix: str) -> str:
    """The key that an attempt's image or thumbnail is uploaded to: no two attempts share one."""
    return str(RenderedKey(role, job_id, task_id, attempt, suffix))


def input_key(sha256: str) -> str:
    """The key of an upload, by the sha256 of what is kept of it."""
    return str(InputKey(sha256))


def grid_key(job_id: int, number: int, token: str) -> str:
    """The key of one drawing of the job's grid of this number."""
    return str(GridKey(job_id, number, token))


def weights_key(sha256: str) -> str:
    """The key of a file of weights."""
    return str(WeightsKey(sha256))


def parse_key(key: str) -> ObjectKey | None:
    """What a key names; None for a key that this farm never writes."""
    for pattern, read in _READERS.items():
        if match := pattern.fullmatch(key):
            return read(match)
    return None


def weights_sha256_sql(column: str) -> str:
    """SQL for the sha256 in a column that holds keys of weights."""
    return f"substr({column}, {len(WEIGHTS) + 1})"


def _read_rendered(match: re.Match[str]) -> RenderedKey:
    role: RenderedRole = "result" if match[1] == "results" else "thumbnail"
    return RenderedKey(role, int(match[2]), int(match[3]), int(match[4]), match[5])


# No more digits than the columns of the database hold.
_READERS: Mapping[re.Pattern[str], Callable[[re.Match[str]], ObjectKey]] = {
    re.compile(r"(results|thumbnails)/(\d{1,18})/(\d{1,18})-(\d{1,9})(\.\w+)", re.ASCII): _read_rendered,
    re.compile(r"inputs/([0-9a-f]{64})\.png"): lambda match: InputKey(match[1]),
    re.compile(r"grids/(\d{1,18})/(\d{1,9})-([0-9a-f]{16})\.png", re.ASCII): lambda match: GridKey(
        int(match[1]), int(match[2]), match[3]
    ),
    re.compile(r"weights/([0-9a-f]{64})"): lambda match: WeightsKey(match[1]),
}
