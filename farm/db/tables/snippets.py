"""The tables of styles and wildcards."""

from sqlalchemy.orm import Mapped, mapped_column

from farm.db.tables.base import Base


class Style(Base):
    """A named piece of prompt, as in the WebUI's styles.csv."""

    __tablename__ = "styles"

    name: Mapped[str] = mapped_column(primary_key=True)
    prompt: Mapped[str]
    negative_prompt: Mapped[str]


class Wildcard(Base):
    """A named list that `__name__` in a prompt draws from."""

    __tablename__ = "wildcards"

    name: Mapped[str] = mapped_column(primary_key=True)
    lines: Mapped[list[str]]
