"""How a mask is read: by its alpha, if it was painted on a transparent layer, else by its brightness.

The WebUI reads alpha wherever a single pixel is not opaque, so that one stray pixel, or corners rounded by an
editor, makes a mask of black and white cover everything. So alpha counts only where it varies on purpose:

1. Alpha that is the same everywhere is ignored, unless all is transparent: then nothing is painted.
2. A layer of which less than one pixel in a hundred is more transparent than not was not painted on.
3. Where what is opaque is itself a mask, of black and white and hardly a shade between, brightness counts.

Any other mask with transparency is read by its alpha. A reading that may surprise is reported in a note.
"""

from PIL import Image

_HALF = 128
# Of all pixels, that must be transparent for alpha to be meant.
_LEAST_TRANSPARENT = 0.01
# Of a mask's pixels: these are as good as black or white, and each of the two has so many at least.
_DARK, _LIGHT = 48, 207
_CLEAR = 0.95
_LEAST_OF_EACH = 0.005


def read_mask(colour: Image.Image, alpha: Image.Image | None) -> tuple[Image.Image, str | None]:
    """The mask in grey, and how it was read where that may surprise; what is transparent counts as black."""
    bright = colour.convert("L")
    if alpha is None:
        return bright, None
    least, most = alpha.getextrema()
    if least == 255:
        return bright, None
    if least == most:
        return (alpha, None) if most == 0 else (bright, _explain("all of it is equally transparent"))
    pixels, transparent = alpha.width * alpha.height, sum(alpha.histogram()[:_HALF])
    if transparent < _LEAST_TRANSPARENT * pixels:
        return _paste_over_black(bright, alpha), _explain(
            f"{transparent:,} of its {pixels:,} pixels count as transparent, too few to be meant"
        )
    if _is_black_and_white(bright, alpha):
        return _paste_over_black(bright, alpha), _explain("what is not transparent in it is black and white")
    return alpha, None


def _explain(why: str) -> str:
    return f"the mask is read by its brightness (white is painted), and not by its transparency: {why}"


def _paste_over_black(bright: Image.Image, alpha: Image.Image) -> Image.Image:
    black = Image.new("L", bright.size, 0)
    black.paste(bright, mask=alpha)
    return black


def _is_black_and_white(bright: Image.Image, alpha: Image.Image) -> bool:
    """Whether the opaque pixels have both, and hardly anything between."""
    shades = bright.histogram(alpha.point(lambda value: 255 if value >= _HALF else 0))
    opaque, dark, light = sum(shades), sum(shades[:_DARK]), sum(shades[_LIGHT + 1 :])
    return dark + light >= _CLEAR * opaque and min(dark, light) >= _LEAST_OF_EACH * opaque
