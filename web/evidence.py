"""Error messages of workers as users may see them: without secrets, and without paths of the worker's machine.

The database and the worker's log keep the whole evidence, for the operators of the farm. It contains messages of
drivers and libraries, which name files, hosts, and sometimes a connection's password.
"""

import re
from collections.abc import Mapping
from typing import TypeVar

from pydantic import BaseModel

_Report = TypeVar("_Report", bound=BaseModel)

# The fields, in any report, that may contain a worker's error messages.
_EVIDENCE = frozenset({"error", "reason", "log_tail"})

# Each starts at few places or looks ahead only a little: a worker's log lines may be long, and contain anything.
_HIDDEN: Mapping[re.Pattern[str], str] = {
    # Addresses: of databases, buckets, and sockets, with their credentials.
    re.compile(r"\b[a-z][a-z0-9+.-]{0,20}://[^\s'\"`<>]+", re.IGNORECASE): "(address)",
    # Credentials outside addresses.
    re.compile(
        r"((?:password|passwd|secret|api_?key|access_?key)\w{0,20}\s{0,3}[=:]\s{0,3})\S+", re.IGNORECASE
    ): r"\1(hidden)",
    re.compile(r"\bfarm_[0-9a-f]{8}_[\w-]+"): "(hidden)",
    # Folders: a quoted path may hold spaces. The file's own name stays: it shows what was missing or broken.
    re.compile(r"(?<=['\"`])~?/[^'\"`\n]*/"): "\u2026/",
    re.compile(r"(?<![\w.\u2026/])~?/(?:[^\s/'\"`:,;()<>]+/)+"): "\u2026/",
    # Control sequences of terminals: the command line shows these texts too.
    re.compile(r"\x1b\[[0-9;?]*[A-Za-z]"): "",
    re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]"): "\ufffd",
}


def hide_evidence(report: _Report) -> _Report:
    """The report, and the reports in its lists, with private details of their evidence removed."""
    changes: dict[str, object] = {}
    for name, value in report:
        if name in _EVIDENCE and isinstance(value, str):
            changes[name] = hide_private(value)
        elif isinstance(value, list):
            changes[name] = [hide_evidence(item) if isinstance(item, BaseModel) else item for item in value]
    return report.model_copy(update=changes)


def hide_private(text: str) -> str:
    """The text with addresses, credentials and folders hidden."""
    for pattern, stand_in in _HIDDEN.items():
        text = pattern.sub(stand_in, text)
    return text
