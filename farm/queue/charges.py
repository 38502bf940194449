"""What a claim charges an owner for an image, before anybody knows how long it takes; its ending settles that."""

SECONDS_PER_MEGAPIXEL_STEP = 0.2
"""Device seconds of a million pixels that pass through a UNet once, where nothing alike was rendered yet."""


def seconds_of_group_sql(group: str) -> str:
    """SQL for the expected device seconds of an image of a group. `group` names a row of `groups`, or of NULLs.

    They are measured where something alike was rendered, else the work that it is.
    """
    by_work = f"{group}.pixel_steps * {SECONDS_PER_MEGAPIXEL_STEP * 1e-6!r}"
    return f"coalesce({group}.seconds, {by_work}, 0)"
