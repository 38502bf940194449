"""How much one request may make the farm do: counted across its rows before it is done, refused with the number.

Rows, images, axes, styles, choices and wildcards multiply each other, so each may be small where the whole is not.
All bounds of this kind stand here. They grow with the images that a job may have on this farm, as honest jobs do:
a job of as many images as are allowed, with ordinary prompts, is within all of them.
"""

from farm.errors import InvalidRequest

LONGEST_PROMPT = 100_000
"""How long a prompt may get while styles, axes and choices are put into it. What is rendered is shorter still."""

# By image: of prompts that are made and checked one by one, of prompts as they are stored, of choices that are
# drawn, of the signs of dynamic prompts, which are read once for each row and point, and of tags.
_CHARACTERS = 640
_STORED = 2_560
_CHOICES = 15
_SIGNS_READ = 25
_TAGS = 6

# Whatever the size of a job: of wildcards that are gathered, and of signs that are looked through for warnings.
_LINES = 2_000_000
# Each kind of batch has counters of its own, which every claim of a worker looks through.
_KINDS = 20_000
_SIGNS = 4_000_000
# Characters in which names are looked for that may have been meant.
_DOUBTED = 4_000_000
# Pictures that come with one request: as four of the largest that are taken.
_PICTURES = 4


class OverBudget(InvalidRequest):
    """The request would make the farm do more than one request may."""


class Allowance:
    """How much of one thing a request may still use."""

    def __init__(self, limit: int, costs: str, advice: str, field: str = "prompts") -> None:
        self._limit = limit
        self._costs = costs
        self._advice = advice
        self._field = field
        self._spent = 0

    def spend(self, count: int) -> None:
        """Raises OverBudget where that is more than is left."""
        self.require(count)
        self._spent += count

    def require(self, count: int) -> None:
        """Raise OverBudget where so much is not left."""
        cost = self._spent + count
        if cost > self._limit:
            costs, allowed = self._costs.format(format_count(cost)), format_count(self._limit)
            raise OverBudget.at(self._field, f"{costs}; {allowed} are allowed. {self._advice}")

    def covers(self, count: int) -> bool:
        """Spend so much if it is left."""
        if self._spent + count > self._limit:
            return False
        self._spent += count
        return True


class Budget:
    """What one request may use; `images` is how many images a job may have on this farm."""

    def __init__(self, images: int = 100_000) -> None:
        self.characters = Allowance(
            images * _CHARACTERS,
            "this request would make {} characters of prompts or more",
            "Ask for fewer images or styles, or shorter prompts",
        )
        self.stored = Allowance(
            images * _STORED,
            "this request would store {} characters of prompts or more with its images",
            "Ask for fewer images, or shorter prompts",
        )
        self.choices = Allowance(
            images * _CHOICES,
            "this request would draw {} choices or more",
            "Ask for fewer images, or fewer choices in the prompts",
        )
        self.reading = Allowance(
            images * _SIGNS_READ,
            "the dynamic prompts of this request have {} braces, bars and wildcards or more",
            "Send fewer rows, put long choices into wildcards, or switch them off with `dynamic_prompts`",
        )
        self.tags = Allowance(
            images * _TAGS,
            "the prompts of this request hold {} signs < of tags or more",
            "Ask for fewer images, or fewer LoRAs in the prompts",
        )
        self.lines = Allowance(
            _LINES,
            "this request would gather {} lines of wildcards or more",
            "Name fewer wildcards by *",
        )
        self.kinds = Allowance(
            _KINDS,
            "the images of this request are of {} kinds or more, which cannot be rendered together",
            "Sweep fewer sizes, steps, samplers or weights of LoRAs in one job",
        )
        self.signs = Allowance(_SIGNS, "", "")
        self.doubted = Allowance(_DOUBTED, "", "")


def for_pictures(most_pixels: int) -> Allowance:
    """The pixels that one request may bring along, where a picture may have `most_pixels`."""
    return Allowance(
        _PICTURES * most_pixels,
        "the pictures of this request take as long to read as {} pixels or more",
        "Send them ahead through POST /api/v1/uploads and name them by their id",
        field="image",
    )


def format_count(count: int) -> str:
    """A number as people read it; of a very large one the order alone, which Python would not even write."""
    if count >= 10**15:
        return f"about 10^{int(count.bit_length() * 0.30103)}"
    for power, word in ((12, "trillion"), (9, "billion"), (6, "million")):
        if count >= 10**power:
            return f"{count / 10**power:.4g} {word}"
    return f"{count:,}"
