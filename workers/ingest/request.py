"""What is asked of an ingest, and what it answers: as JSON, between the farm and the process that reads weights."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from farm.spec.families import FAMILIES, Family
from farm.weights.files.header import BadWeights


@dataclass(frozen=True)
class Request:
    """`family` is a wish; the folders may hold CLIP's vocabulary; `vae` is for a checkpoint that has none."""

    kind: str
    source: Path
    target: Path
    family: Family | None
    vocabulary: tuple[Path, ...]
    vae: Path | None

    @classmethod
    def read(cls, path: Path) -> "Request":
        content: dict[str, Any] = json.loads(path.read_text())
        return cls(
            kind=content["kind"],
            source=Path(content["source"]),
            target=Path(content["target"]),
            family=_family(content.get("family")),
            vocabulary=tuple(
                Path(content[key]) for key in ("tokenizer", "clip_vocabulary") if content.get(key) is not None
            ),
            vae=Path(content["vae"]) if content.get("vae") else None,
        )


def _family(name: str | None) -> Family | None:
    if name is None:
        return None
    if name not in FAMILIES:
        raise BadWeights(f"There is no family {name!r}; there are {', '.join(FAMILIES)}.")
    return FAMILIES[name]


@dataclass(frozen=True)
class Outcome:
    """What was found, beside what was written. `family` and `prediction_type` are None where they mean nothing."""

    family: str | None
    prediction_type: str | None = None
    warnings: tuple[str, ...] = ()
