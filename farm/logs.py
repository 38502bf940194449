"""Logging: one sentence for people, fields for machines.

Text from users may occur in any message. It can neither start a line of its own nor control a terminal:
JSON escapes all but ASCII, and for the console unprintable characters are escaped here.
"""

import logging
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TextIO, cast

import structlog
from structlog.typing import EventDict, Processor

from farm.config import Settings

# Fields of several lines. They are indented, so that none looks like an entry of the log.
_MANY_LINES = frozenset({"exception", "stack"})


def configure(settings: Settings) -> None:
    """Write log lines to stderr, for the console or as JSON, both from structlog and from libraries."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    renderers = _json_renderers() if settings.log_format == "json" else _console_renderers()
    structlog.configure(
        processors=[*shared, *renderers],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(cast(TextIO, _LossyStream(sys.stderr))),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderers],
        )
    )
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)


@dataclass(frozen=True)
class _LossyStream:
    """A stream that drops what it cannot write: a closed pipe or a full disk loses log lines and no work.

    The standard library's handlers do so by themselves.
    """

    stream: TextIO

    def write(self, text: str) -> None:
        with suppress(OSError):
            self.stream.write(text)

    def flush(self) -> None:
        with suppress(OSError):
            self.stream.flush()


def _json_renderers() -> Sequence[Processor]:
    return [structlog.processors.JSONRenderer()]


def _console_renderers() -> Sequence[Processor]:
    return [_escape, structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), pad_event_to=0)]


def _escape(_logger: object, _method: str, event: EventDict) -> EventDict:
    return {
        name: _indent_lines(value) if name in _MANY_LINES else _escape_value(value) for name, value in event.items()
    }


@dataclass(frozen=True, repr=False)
class _Escaped:
    """A text that the renderer, which prints strings as they are, shows with unprintable characters escaped."""

    text: str

    def __repr__(self) -> str:
        return repr(self.text)


def _escape_value(value: object) -> object:
    text = value if isinstance(value, str) else repr(value)
    return value if text.isprintable() else _Escaped(text)


def _indent_lines(text: str) -> str:
    """Indent and escape a traceback, whose last line may be text from a user."""
    return "\n".join(f"  {line if line.isprintable() else repr(line)}" for line in text.split("\n"))
