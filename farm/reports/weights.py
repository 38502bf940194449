"""Registered checkpoints and addons as people and programs read them."""

import re
from collections.abc import Iterable
from pathlib import PurePath

from farm.db.tables.weights import Addon, Checkpoint
from farm.reports.shapes import AddonReport, CheckpointReport
from farm.weights.blobs import read_files

_ELSEWHERE = re.compile(r"hf:|civitai:|https?://")


def checkpoint_reports(checkpoints: Iterable[Checkpoint]) -> list[CheckpointReport]:
    return [_checkpoint_report(checkpoint) for checkpoint in checkpoints]


def _checkpoint_report(checkpoint: Checkpoint) -> CheckpointReport:
    files = read_files(checkpoint.files)
    # Files that are alike lie in the store once.
    sizes = {file.sha256: file.size for file in files} if files is not None else None
    names = CheckpointReport.model_fields.keys() - {"size_bytes"}
    return CheckpointReport.model_validate(
        {
            **{name: getattr(checkpoint, name) for name in names},
            "size_bytes": sum(sizes.values()) if sizes is not None else None,
            "origin": _public_origin(checkpoint.origin),
        }
    )


def addon_reports(addons: Iterable[Addon]) -> list[AddonReport]:
    reports = (AddonReport.model_validate(addon) for addon in addons)
    return [report.model_copy(update={"origin": _public_origin(report.origin)}) for report in reports]


def _public_origin(origin: str | None) -> str | None:
    """A page of a hub or an address as it is; of a file its name, since where it lay concerns its machine alone."""
    if origin is None or _ELSEWHERE.match(origin):
        return origin
    return PurePath(origin).name
