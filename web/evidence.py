"""What went wrong on a worker, as users may see it: without the secrets and the places of its machine.

The evidence is kept whole in the database and in the worker's log, for whoever runs the farm. It holds what
drivers and libraries said, and they name files, hosts, and now and then a connection's password.
"""

import re
from collections.abc import Mapping
from typing import TypeVar

from pydantic import BaseModel

_Report = TypeVar("_Report", bound=BaseModel)

# The fields, in any report, that may repeat what a worker met with.
_EVIDENCE = frozenset({"error", "reason", "log_tail"})

# Each looks ahead from few places or not far: a worker's last words may be long, and anything.
_HIDDEN: Mapping[re.Pattern[str], str] = {
    # Addresses: of databases, buckets, and sockets, with whatever credentials they carry.
    re.compile(r"\b[a-z][a-z0-9+.-]{0,20}://[^\s'\"`<>]+", re.IGNORECASE): "(address)",
    # Credentials by themselves.
    re.compile(
        r"((?:password|passwd|secret|api_?key|access_?key)\w{0,20}\s{0,3}[=:]\s{0,3})\S+", re.IGNORECASE
    ): r"\1(hidden)",
    re.compile(r"\bfarm_[0-9a-f]{8}_[\w-]+"): "(hidden)",
    # Folders: a quoted path may hold spaces. The file's own name stays, it tells what was missing or broken.
    re.compile(r"(?<=['\"`])~?/[^'\"`\n]*/"): "\u2026/",
    re.compile(r"(?<![\w.\u2026/])~?/(?:[^\s/'\"`:,;()<>]+/)+"): "\u2026/",
    # What steers a terminal: the command line shows these texts too.
    re.compile(r"\x1b\[[0-9;?]*[A-Za-z]"): "",
    re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]"): "\ufffd",
}


def shown(report: _Report) -> _Report:
    """The report, and the reports in its lists, with their evidence cleaned."""
    changes: dict[str, object] = {}
    for name, value in report:
        if name in _EVIDENCE and isinstance(value, str):
            changes[name] = clean(value)
        elif isinstance(value, list):
            changes[name] = [shown(item) if isinstance(item, BaseModel) else item for item in value]
    return report.model_copy(update=changes)


def clean(text: str) -> str:
    """What users may read of it."""
    for pattern, stand_in in _HIDDEN.items():
        text = pattern.sub(stand_in, text)
    return text
