"""What people might write to get a scene: sentences and lists of tags, some with words left out or put in."""

from collections.abc import Iterator
from random import Random

from workers.demo.scenes import Background, Hour, Land, Landscape, Prop, Relation, Scene, Shapes, Thing

_OPENINGS = (
    "a picture of", "an image of", "a drawing of", "a painting of", "an illustration of", "a photo of",
    "a poster of",
)  # fmt: skip
_PRAISE = (
    "masterpiece",
    "best quality",
    "highly detailed",
    "sharp focus",
    "simple",
    "beautiful",
    "4k",
    "flat design",
)
_ALSO_CALLED = {"gray": ("gray", "grey"), "circle": ("circle", "disc", "ball"), "cross": ("cross", "plus")}
_SIZES = {"small": ("small", "little", "tiny"), "large": ("large", "big", "huge")}
PLACES = {
    "left": "on the left",
    "right": "on the right",
    "top": "at the top",
    "bottom": "at the bottom",
    "top left": "in the top left corner",
    "top right": "in the top right corner",
    "bottom left": "in the bottom left corner",
    "bottom right": "in the bottom right corner",
}
_CENTRE = ("in the center", "in the middle")


def caption(scene: Scene, random: Random) -> str:
    """One of many texts for the scene; words for what it shows may be missing, never wrong."""
    text = _of_shapes(scene, random) if isinstance(scene, Shapes) else _of_landscape(scene, random)
    if random.random() < 0.2:
        text = f"{random.choice(_OPENINGS)} {text}"
    if random.random() < 0.08:
        text = f"{text}, {', '.join(random.sample(_PRAISE, random.randint(1, 3)))}"
    if random.random() < 0.08:
        text = _with_a_stray_word(text, random)
    return text


def _with_a_stray_word(text: str, random: Random) -> str:
    """The text with a word that means nothing here: what was never learnt should change little."""
    stray = "".join(random.choices("abcdefghijklmnopqrstuvwxyz", k=random.randint(2, 7)))
    words = text.split()
    words.insert(random.randint(0, len(words)), stray)
    return " ".join(words)


def _called(word: str, random: Random) -> str:
    return random.choice(_ALSO_CALLED.get(word, (word,)))


def _of_shapes(scene: Shapes, random: Random) -> str:
    ground = _of_background(scene.background, random)
    if not scene.things:
        return ground
    before = f"{random.choice(('on', 'on', 'against'))} {with_article(ground)}"
    if scene.relation is None:
        return _of_one(scene.things[0], ground, before, random)
    sentence = _of_two(scene.things[0], scene.things[1], scene.relation, random)
    return random.choice(
        (sentence, f"{sentence} {before}", f"{sentence} {before}", f"{sentence} {before}", f"{sentence}, {ground}")
    )


def _of_one(thing: Thing, ground: str, before: str, random: Random) -> str:
    name, place = _name(thing, random), _place(thing, random)
    article = with_article(name)
    chance = random.random()
    if chance < 0.12:
        return f"{article}{_after(place)}"
    if chance < 0.3:
        return ", ".join(part for part in (name, place, ground) if part)
    if chance < 0.4:
        return f"{article}, {ground}{_after(place)}"
    if chance < 0.7:
        return f"{article} {before}{_after(place)}"
    return f"{article}{_after(place)} {before}"


def _after(place: str) -> str:
    return f" {place}" if place else ""


def _name(thing: Thing, random: Random) -> str:
    size = random.choice(_SIZES[thing.size]) if thing.size and random.random() < 0.85 else ""
    colour = _called(thing.colour, random) if random.random() < 0.96 else ""
    return " ".join(word for word in (size, colour, _called(thing.shape, random)) if word)


def _place(thing: Thing, random: Random) -> str:
    if thing.place:
        return PLACES[thing.place] if random.random() < 0.88 else ""
    return random.choice(_CENTRE) if random.random() < 0.2 else ""


def with_article(name: str) -> str:
    """The name with `a` or `an` before it."""
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


def _of_background(background: Background, random: Random) -> str:
    first, last = (_called(background.colours[end], random) for end in (0, -1))
    match background.pattern:
        case "plain":
            return f"{first} background"
        case "gradient":
            return random.choice((f"{first} to {last} gradient", f"{first} to {last} gradient background"))
        case _:
            way = background.pattern.split()[0] + " " if random.random() < 0.6 else ""
            return random.choice(
                (f"{first} and {last} {way}stripes", f"{first} background with {last} {way}stripes")
            )


_TOLD: dict[Relation, tuple[str, ...]] = {
    "left of": (
        "{0} left of {1}", "{0} to the left of {1}", "{1} right of {0}", "{1} to the right of {0}",
        "{0} next to {1}", "{0} and {1}", "{1} and {0}",
    ),
    "above": ("{0} above {1}", "{0} over {1}", "{1} below {0}", "{1} under {0}"),
    "inside": ("{0} inside {1}", "{0} in {1}", "{1} with {0} inside"),
}  # fmt: skip


def _of_two(first: Thing, second: Thing, relation: Relation, random: Random) -> str:
    names = (with_article(_name(thing, random)) for thing in (first, second))
    return random.choice(_TOLD[relation]).format(*names)


_LANDS: dict[Land, tuple[str, ...]] = {
    "meadow": ("a green meadow", "a green hill", "green grass"),
    "sea": ("the blue sea", "the sea", "the ocean"),
    "desert": ("the desert", "desert sand", "yellow sand"),
    "snow": ("white snow", "snow", "a snowy hill"),
}
_HOURS: dict[Hour, tuple[str, ...]] = {
    "day": ("under a blue sky", "by day", ""),
    "sunset": ("at sunset", "in the evening", "under a purple and orange sky"),
    "night": ("at night", "under a dark sky", "by night"),
}


def _of_landscape(scene: Landscape, random: Random) -> str:
    """Each prop is named more often than not."""
    land, hour = random.choice(_LANDS[scene.land]), random.choice(_HOURS[scene.hour])
    ahead = list(_names(scene, ("house", "tree", "boat"), random))
    behind = list(_names(scene, ("sun", "moon", "stars", "cloud", "mountain"), random))
    if random.random() < 0.3:
        tags = [*ahead, land, *behind, hour]
        return ", ".join(tag for tag in tags if tag)
    words = [_and(ahead), "on" if ahead else "", land, hour, f"with {_and(behind)}" if behind else ""]
    return " ".join(word for word in words if word)


def _names(scene: Landscape, kinds: tuple[str, ...], random: Random) -> Iterator[str]:
    for kind in kinds:
        props = [prop for prop in scene.props if prop.kind == kind]
        if props and random.random() < 0.72:
            yield _of_props(props, random)


def _of_props(props: list[Prop], random: Random) -> str:
    main = props[0].colours[0]
    match props[0].kind:
        case "house":
            wall, roof = props[0].colours
            house = f"{with_article(wall)} house"
            return random.choice((house, f"{house} with {with_article(roof)} roof"))
        case "boat":
            return random.choice(
                (f"a boat with {with_article(main)} sail", f"a sailing boat with {with_article(main)} sail")
            )
        case "stars":
            return random.choice(("stars", "many stars"))
        case "sun":
            return random.choice(("the sun", "a sun", f"{with_article(main)} sun"))
        case "moon":
            return random.choice(("the moon", "a moon", "a crescent moon"))
        case kind:
            return f"{kind}s" if len(props) > 1 else f"a {kind}"


def _and(names: list[str]) -> str:
    return " and ".join(names)
