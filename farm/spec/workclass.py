"""Which class the work of a job is of: what kind of waiting it can stand."""

# So few images are a look at something, and somebody waits for it.
_MOST_INTERACTIVE = 4


def class_of(marked: str | None, images: int, *, has_deadline: bool) -> str:
    """What the job's owner marked, else what its size and deadline say."""
    if marked is not None:
        return marked
    if images <= _MOST_INTERACTIVE:
        return "interactive"
    return "deadline" if has_deadline else "bulk"
