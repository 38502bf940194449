"""Masks: which pixels are painted, which region that is, and what lies under them."""

from PIL import Image, ImageChops, ImageFilter

from farm.spec.sizes import Size
from workers.canvas.images import extend_edges, resize

Box = tuple[int, int, int, int]
"""(left, top, right, bottom) in pixels; right and bottom lie just outside."""


def binarize_mask(mask: Image.Image) -> Image.Image:
    """A mask of black and white alone: white is what is at least half white."""
    return mask.convert("L").point(lambda shade: 255 if shade >= 128 else 0)


def feather_mask(mask: Image.Image, blur: int) -> Image.Image:
    """How much of the new picture shows: all of it in the mask, and less and less around it.

    `blur` is the standard deviation of the Gaussian, in pixels. A mask that touches an edge goes on behind it.
    """
    if blur == 0:
        return mask
    margin = 3 * blur
    wider = extend_edges(mask, (mask.width + 2 * margin, mask.height + 2 * margin), (margin, margin))
    blurred = wider.filter(ImageFilter.GaussianBlur(blur))
    inner = blurred.crop((margin, margin, margin + mask.width, margin + mask.height))
    return ImageChops.lighter(mask, inner.point(lambda shade: min(255, 2 * shade)))


def find_masked_region(mask: Image.Image, padding: int, size: Size) -> Box:
    """The box around what is white, with padding, or all of the mask where nothing is.

    It is widened towards the proportions of `size` as far as the mask goes.
    """
    found = mask.getbbox()
    if found is None:
        return 0, 0, mask.width, mask.height
    left, right = max(0, found[0] - padding), min(mask.width, found[2] + padding)
    top, bottom = max(0, found[1] - padding), min(mask.height, found[3] + padding)
    wide, high = right - left, bottom - top
    left, right = _widen(left, right, round(high * size[0] / size[1]), mask.width)
    top, bottom = _widen(top, bottom, round(wide * size[1] / size[0]), mask.height)
    return left, top, right, bottom


def _widen(start: int, end: int, wanted: int, limit: int) -> tuple[int, int]:
    """A span made so long on both sides, or as far as there is room."""
    length = min(limit, max(wanted, end - start))
    start = min(max(0, start - (length - (end - start)) // 2), limit - length)
    return start, start + length


# What lies near spreads last, over what came from far.
_FILL_BLURS = (256, 64, 16, 16, 4, 4, 4, 4, 2, 2)


def fill_masked_area(picture: Image.Image, mask: Image.Image) -> Image.Image:
    """The picture with what surrounds the mask spread into it, blur over blur, as the WebUI's `fill` does."""
    known = picture.convert("RGBA")
    known.putalpha(ImageChops.invert(mask))
    premultiplied = known.convert("RGBa")
    spread = Image.new("RGBA", picture.size)
    for radius in _FILL_BLURS:
        spread.alpha_composite(premultiplied.filter(ImageFilter.GaussianBlur(radius)).convert("RGBA"))
    spread.alpha_composite(known)
    return spread.convert("RGB")


def resize_mask(mask: Image.Image, size: Size, resize_mode: str) -> Image.Image:
    """A mask brought to a size in the way its picture is."""
    return binarize_mask(resize(mask, size, resize_mode))
