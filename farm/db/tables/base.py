"""What all tables share: how Python types are stored, and how rows are numbered."""

from datetime import datetime
from typing import Any

from sqlalchemy import ARRAY, BigInteger, DateTime, Double, Identity, LargeBinary, Text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    """All tables; datetimes are aware and in UTC, text is unbounded."""

    type_annotation_map = {  # noqa: RUF012 - SQLAlchemy reads this class attribute and never changes it
        datetime: DateTime(timezone=True),
        dict[str, Any]: JSONB,
        float: Double,
        bytes: LargeBinary,
        list[str]: ARRAY(Text),
        str: Text,
    }


def big_id() -> Mapped[int]:
    return mapped_column(BigInteger, Identity(), primary_key=True)
