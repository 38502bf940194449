"""Styles and wildcards: pieces of prompts that are kept under a name and put in at submit."""

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from sqlalchemy import delete, select
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.orm import Session

from farm.errors import FieldProblem, InvalidRequest, NotFound
from farm.models import Style, Wildcard
from farm.prompts import styles
from farm.prompts.template import can_be_called

_MOST_BYTES = 8 * 2**20


def read_styles_file(path: Path) -> list[styles.Style]:
    """The styles of a WebUI's styles.csv. Raises InvalidRequest."""
    return styles.read_styles(_text(path))


def put_styles(session: Session, found: Iterable[styles.Style]) -> int:
    """Keep styles, in the place of those of the same name; return how many."""
    rows = [{"name": s.name, "prompt": s.prompt, "negative_prompt": s.negative_prompt} for s in found]
    if rows:
        statement = upsert(Style).values(rows)
        changes = {name: statement.excluded[name] for name in ("prompt", "negative_prompt")}
        session.execute(statement.on_conflict_do_update(index_elements=["name"], set_=changes))
    return len(rows)


def all_styles(session: Session) -> Sequence[Style]:
    return session.scalars(select(Style).order_by(Style.name)).all()


def remove_style(session: Session, name: str) -> None:
    """Raises NotFound. Accepted jobs have it in their prompts already."""
    if session.execute(delete(Style).where(Style.name == name).returning(Style.name)).first() is None:
        raise NotFound(f"There is no style {name!r}.")


def read_wildcards(path: Path) -> dict[str, list[str]]:
    """The wildcards of a text file, or of all below a folder: named by their path without `.txt`.

    Empty lines and those that begin with # are left out. Raises InvalidRequest, also for a name that no prompt
    can call.
    """
    files = sorted(path.rglob("*.txt")) if path.is_dir() else [path]
    root = path if path.is_dir() else path.parent
    found = {file.relative_to(root).with_suffix("").as_posix(): list(_entries(_text(file))) for file in files}
    if empty := [name for name, lines in found.items() if not lines]:
        raise InvalidRequest([FieldProblem(name, "holds no line") for name in empty])
    if not found:
        raise InvalidRequest([FieldProblem(str(path), "holds no .txt file")])
    if uncallable := [name for name in found if not can_be_called(name)]:
        raise InvalidRequest([FieldProblem(name, _how_to_name(name)) for name in uncallable])
    return found


def _how_to_name(name: str) -> str:
    plain = re.sub(r"[^\w./-]+|_{2,}", "-", name).strip("-_")
    hint = f"; `{plain}` could" if can_be_called(plain) else ""
    return f"no prompt can call a wildcard of this name: letters, digits and - _ . / only{hint}"


def _entries(text: str) -> Iterator[str]:
    for line in text.splitlines():
        if line.strip() and not line.lstrip().startswith("#"):
            yield line.strip()


def put_wildcard(session: Session, name: str, lines: Sequence[str]) -> None:
    """Keep a wildcard, in the place of one of the same name."""
    statement = upsert(Wildcard).values(name=name, lines=list(lines))
    session.execute(statement.on_conflict_do_update(index_elements=["name"], set_={"lines": list(lines)}))


def all_wildcards(session: Session) -> Sequence[Wildcard]:
    return session.scalars(select(Wildcard).order_by(Wildcard.name)).all()


def remove_wildcard(session: Session, name: str) -> None:
    """Raises NotFound. Accepted jobs have what it drew in their prompts already."""
    if session.execute(delete(Wildcard).where(Wildcard.name == name).returning(Wildcard.name)).first() is None:
        raise NotFound(f"There is no wildcard {name!r}.")


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise InvalidRequest([FieldProblem(str(path), f"is larger than {_MOST_BYTES // 2**20} MiB")])
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InvalidRequest([FieldProblem(str(path), error.strerror or "cannot be read")]) from None
    except UnicodeDecodeError:
        raise InvalidRequest([FieldProblem(str(path), "is not UTF-8 text")]) from None
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise InvalidRequest([FieldProblem(f"{path}, line {line}", "must not contain a NUL character")])
    return text
