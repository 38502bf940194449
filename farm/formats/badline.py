"""The error of every reader here: a line that does not follow its format."""


class BadLine(ValueError):
    """A line that does not follow the format of its file; `line` is its number, counted from 1."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line
