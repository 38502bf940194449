"""Styles and wildcards: pieces of prompts that are kept under a name and put in at submit."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from sqlalchemy import delete, select
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.orm import Session

from farm.db.tables.snippets import Style, Wildcard
from farm.errors import FieldProblem, InvalidRequest, NotFound
from farm.formats.text import place_of, read_text, refuse
from farm.intake.wildcardfiles import read_wildcard_files
from farm.prompts import styles

_MOST_BYTES = 8 * 2**20
_STYLES = (".csv", ".tsv", ".txt")


def read_styles_file(path: Path) -> list[styles.PromptStyle]:
    """The styles of a WebUI's styles.csv. Raises InvalidRequest."""
    if path.suffix.lower() not in _STYLES:
        raise refuse(path, f"{path.suffix or 'a file without a suffix'}: styles come from {', '.join(_STYLES)}")
    try:
        return styles.read_styles(read_text(path, _MOST_BYTES))
    except styles.BadStyles as error:
        raise InvalidRequest(
            [FieldProblem(place_of(path, line), message) for line, message in error.found]
        ) from None


def put_styles(session: Session, found: Iterable[styles.PromptStyle]) -> int:
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
    """The wildcards of a file, or of all below a folder, by their names. Raises InvalidRequest."""
    return dict(read_wildcard_files(path).lines)


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
