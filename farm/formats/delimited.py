"""Tables as text: cells parted by commas, semicolons or tabs, in the form of RFC 4180, read strictly.

A quote that is never closed, or closed by one that was meant to open, swallows all rows between them. So quotes
stand only around whole cells, doubled where they are text, and a cell that holds what looks like rows is refused.
"""

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

from farm.formats.badline import BadLine

_NUMBER = re.compile(r"\s*[-+]?\d+(?:[.,]\d+)?\s*")
_DELIMITERS = (",", ";", "\t")
_GOES_ON = re.compile(r' *"(?:[^"\n]|"")*+"(?!") *+[^\n\t]')
_QUOTED = re.compile(r'"(?:[^"]|"")*"')
_NOTHING = re.compile(r"\A(?:[ \t,;]*\n)+")
# What a spreadsheet writes above a table, so that it knows the delimiter itself.
_SPREADSHEET = re.compile(r"sep=(.)\n", re.IGNORECASE)


class BadTable(BadLine):
    """A line that no table may have."""


@dataclass(frozen=True)
class Row:
    """A row, and the line that it begins on, counted from 1."""

    line: int
    cells: tuple[str, ...]


@dataclass(frozen=True)
class Table:
    """The header, and the rows below it that say something."""

    header: Row
    rows: list[Row]
    delimiter: str


def canonical(name: str) -> str:
    """The name of a column or a field as it is compared: `CFG Scale` is `cfg_scale`."""
    return re.sub(r"[\s-]+", "_", unicodedata.normalize("NFC", name).strip().casefold())


def read_table(text: str, column: str) -> Table:
    """The table of a text. The delimiter is the one by which the header has this column.

    Raises BadTable.
    """
    declared = _SPREADSHEET.match(text)
    start = declared.end() if declared else 0
    delimiter = _delimiter(text, start, column, declared[1] if declared else None)
    rows = iter(_Reader(text, delimiter, start))
    header = next((row for row in rows if any(row.cells)), Row(1, ()))
    names = [canonical(cell) for cell in header.cells]
    if column not in names:
        shown = ", ".join(f"`{name}`" for name in names[:10] if name) or "nothing"
        raise BadTable(
            header.line,
            f"the header must have a column `{column}`, parted by commas, semicolons or tabs, not {shown}",
        )
    for number, name in enumerate(names):
        if name and name in names[:number]:
            raise BadTable(header.line, f"the column `{name}` stands twice in the header")
    return Table(header, [row for row in rows if any(row.cells)], delimiter)


def misfit(header: Row, row: Row) -> str | None:
    """Why a row does not fit below its header; None where it does. Fewer cells than columns are no fault."""
    if any(row.cells[len(header.cells) :]):
        return (
            f"has {len(row.cells)} cells, but the header has {len(header.cells)}; a text with a delimiter in it "
            "stands in quotes"
        )
    unnamed = [cell for name, cell in zip(header.cells, row.cells, strict=False) if cell and not name]
    return f"{unnamed[0][:80]!r} stands in a column without a name" if unnamed else None


def _delimiter(text: str, start: int, column: str, declared: str | None) -> str:
    if declared in _DELIMITERS:
        return declared
    for delimiter in _DELIMITERS:
        if column in header_of(text[start : start + 10_000], delimiter):
            return delimiter
    return ","


def header_of(text: str, delimiter: str) -> list[str]:
    """The names in the first line that says something."""
    line = _NOTHING.sub("", text, count=1).split("\n", 1)[0]
    return [canonical(cell.strip().strip('"')) for cell in line.split(delimiter)]


class _Reader:
    """Reads row by row; iterating it raises BadTable."""

    def __init__(self, text: str, delimiter: str, start: int) -> None:
        self._text = text
        self._delimiter = delimiter
        self._position = start
        self._line = 1 + text.count("\n", 0, start)
        self._plain = re.compile(rf"[^{re.escape(delimiter)}\n]*")
        self._opening = re.compile(r"[ \t]*\"" if delimiter != "\t" else r" *\"")
        self._columns = 0
        self._numbers: set[int] = set()
        self._texts: set[int] = set()

    def __iter__(self) -> Iterator[Row]:
        while self._position < len(self._text):
            line = self._line
            row = Row(line, tuple(self._cells()))
            self._note(row.cells)
            yield row

    def _note(self, cells: tuple[str, ...]) -> None:
        """Keep how many columns the header has, and which of them hold numbers and which texts."""
        if not self._columns:
            self._columns = len(cells) if any(cells) else 0
            return
        numbers = {n for n, cell in enumerate(cells) if _NUMBER.fullmatch(cell)}
        self._numbers |= numbers
        self._texts |= {n for n, cell in enumerate(cells) if cell} - numbers

    def _cells(self) -> Iterator[str]:
        column = 0
        while True:
            is_quoted = self._opening.match(self._text, self._position)
            yield self._quoted(column) if is_quoted and not self._is_unquoted_text() else self._unquoted()
            ended_by = self._text[self._position : self._position + 1]
            self._position += 1
            column += 1
            if ended_by != self._delimiter:
                self._line += 1
                return

    def _is_unquoted_text(self) -> bool:
        """Whether a cell between tabs goes on behind its second quote: Google Sheets puts none in quotes."""
        return self._delimiter == "\t" and _GOES_ON.match(self._text, self._position) is not None

    def _unquoted(self) -> str:
        match = self._plain.match(self._text, self._position)
        assert match is not None, "it matches nothing, too"
        # Tabs part cells so clearly that a quote within one can only be text.
        if '"' in match[0] and self._delimiter != "\t":
            column = match[0].index('"') + match.start() - self._text.rfind("\n", 0, match.start())
            raise BadTable(
                self._line,
                f"a quote stands within a cell that does not begin with one, at column {column}. Put the cell in "
                'quotes, and double those that are text: ""',
            )
        self._position = match.end()
        return match[0].strip()

    def _quoted(self, column: int) -> str:
        opened = self._line
        match = self._opening.match(self._text, self._position)
        assert match is not None, "the caller looked"
        begin = match.end()
        end = self._closing(begin)
        if end is None:
            lines = self._text.count("\n", begin)
            raise BadTable(
                opened,
                f"a quote opens here and is never closed: it would swallow the {lines} lines after it. Close it, "
                "or leave it out",
            )
        cell = self._text[begin:end]
        self._line += cell.count("\n")
        rest = re.compile(r"[ \t]*" if self._delimiter != "\t" else r" *").match(self._text, end + 1)
        assert rest is not None, "it matches nothing, too"
        self._position = rest.end()
        if self._text[self._position : self._position + 1] not in ("", "\n", self._delimiter):
            where = "" if self._line == opened else f" on line {self._line}"
            raise BadTable(
                opened,
                f"a quote opens here, and behind the one that closes it{where} the cell goes on. Double the quotes "
                'that are text: ""',
            )
        if "\n" in cell and self._columns > 1 and self._swallows(cell, column):
            raise BadTable(
                opened,
                f"a quote opens here and is closed on line {self._line}, over what look like rows of their own. "
                "Close it where the text ends, or write the cell without line breaks",
            )
        return cell.replace('""', '"')

    def _closing(self, begin: int) -> int | None:
        position = begin
        while (position := self._text.find('"', position)) >= 0:
            if self._text[position + 1 : position + 2] != '"':
                return position
            position += 2
        return None

    def _swallows(self, cell: str, column: int) -> bool:
        """Whether a cell holds rows: two quotes too many, the first of which opened it and the second closed it.

        Its first line is the rest of a row then, and its last one, up to the end of that line, a whole row, both
        with numbers where the columns have them. Tags are parted by commas like cells: where nothing is a number,
        there must be a whole row between the two as well, and every line must be one.
        """
        first, *inner, last = cell.split("\n")
        end = self._text.find("\n", self._position)
        whole = self._parted(last + self._text[self._position : end if end >= 0 else None])
        numbers = self._number_columns(whole)
        if not self._is_row(self._parted(first), column, numbers) or not self._is_row(whole, 0, numbers):
            return False
        if numbers:
            return True
        rows = [self._parted(line) for line in inner if line.strip()]
        return column + 1 < self._columns and bool(rows) and all(self._is_row(row, 0, numbers) for row in rows)

    def _parted(self, line: str) -> list[str]:
        """The cells of a line, what stands in quotes as one of them."""
        return _QUOTED.sub(lambda cell: cell[0][1:-1].replace(self._delimiter, "-"), line).split(self._delimiter)

    def _number_columns(self, cells: list[str]) -> set[int]:
        """The columns that had numbers alone so far; where nothing stood yet, those in which this row has some."""
        own = {n for n, cell in enumerate(cells) if _NUMBER.fullmatch(cell)}
        return (self._numbers - self._texts) | (own - self._texts)

    def _is_row(self, cells: list[str], column: int, numbers: set[int]) -> bool:
        """Whether these are the cells from a column on: numbers where they belong, or texts but no next words."""
        if len(cells) != self._columns - column:
            return False
        said = [cells[n - column] for n in numbers if n >= column and cells[n - column]]
        if said:
            return all(map(_NUMBER.fullmatch, said))
        return all(cell and not cell[0].isspace() for cell in cells[1:])
