"""Of whatever a file holds plain pixels are kept; what cannot be read so is refused, with a word on why."""

import struct
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO

import pytest
from PIL import Image, ImageCms, PngImagePlugin

from farm.errors import Busy, InvalidRequest
from farm.pictures import decoderpool
from farm.pictures.clean import CleanPicture, PictureLimits, clean_mask, clean_picture
from tests.pictures import FORMATS, a_picture, busy_decoders, decoded, encoded

LIMITS = PictureLimits(most_bytes=2**20, most_pixels=10**6)
WHITE, TEAL = (255, 255, 255), (0, 128, 128)
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def picture_of(content: bytes) -> Image.Image:
    return decoded(clean_picture(content, limits=LIMITS).content)


def mask_of(content: bytes) -> Image.Image:
    return decoded(clean_mask(content, limits=LIMITS).content)


def refusal_of(
    content: bytes, clean: Callable[..., CleanPicture] = clean_picture, limits: PictureLimits = LIMITS
) -> str:
    with pytest.raises(InvalidRequest) as refused:
        clean(content, limits=limits, field="prompts[2].image")
    [problem] = refused.value.problems
    assert problem.field == "prompts[2].image"
    return problem.message


def is_close(colour: object, expected: tuple[int, int, int]) -> bool:
    return isinstance(colour, tuple) and all(abs(a - b) <= 4 for a, b in zip(colour, expected, strict=True))


def a_chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def with_chunk(png: bytes, kind: bytes, content: bytes) -> bytes:
    """The PNG with one more chunk after its header."""
    return png[:33] + a_chunk(kind, content) + png[33:]


class TestPixels:
    @pytest.mark.parametrize("format", FORMATS)
    def test_every_format_becomes_a_png_in_rgb(self, format: str) -> None:
        picture = picture_of(encoded(a_picture(), format))
        assert (picture.format, picture.mode, picture.size) == ("PNG", "RGB", (48, 32))
        assert is_close(picture.getpixel((40, 28)), TEAL)

    @pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
    def test_every_depth_of_a_png_becomes_rgb(self, mode: str) -> None:
        picture = picture_of(encoded(Image.new(mode, (20, 10), 0)))
        assert (picture.mode, picture.size) == ("RGB", (20, 10))

    def test_sixteen_bits_are_scaled_to_eight(self) -> None:
        grey = Image.new("I;16", (2, 1), 0)
        grey.putpixel((0, 0), 100 * 257)
        assert picture_of(encoded(grey)).getpixel((0, 0)) == (100, 100, 100)

    def test_cmyk_becomes_rgb(self) -> None:
        inks = Image.new("CMYK", (32, 32), (255, 0, 0, 0))
        assert is_close(picture_of(encoded(inks, "JPEG", quality=100)).getpixel((5, 5)), (0, 255, 255))

    @pytest.mark.parametrize("format", ["PNG", "WEBP", "AVIF"])
    def test_transparent_pixels_become_white(self, format: str) -> None:
        clear = Image.new("RGBA", (16, 16), (0, 0, 0, 0))
        assert is_close(picture_of(encoded(clear, format)).getpixel((5, 5)), WHITE)

    def test_half_transparent_pixels_are_mixed_with_white(self) -> None:
        assert picture_of(encoded(Image.new("RGBA", (4, 4), (0, 0, 0, 128)))).getpixel((0, 0)) == (127, 127, 127)

    def test_a_transparent_colour_of_a_palette_becomes_white(self) -> None:
        picture = Image.new("P", (8, 8), 3)
        picture.putpalette(bytes(range(30)))
        assert picture_of(encoded(picture, "GIF", transparency=3)).getpixel((0, 0)) == WHITE

    def test_the_first_frame_of_an_animation_is_taken(self) -> None:
        frames = [a_picture(colour=colour) for colour in ("teal", "navy", "gold")]
        content = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
        assert is_close(picture_of(content).getpixel((40, 28)), TEAL)

    def test_a_preview_inside_a_picture_is_not_taken(self) -> None:
        content = encoded(a_picture(), "MPO", save_all=True, append_images=[a_picture(16, 8)])
        assert picture_of(content).size == (48, 32)

    def test_a_picture_without_alpha_keeps_every_pixel(self) -> None:
        noise = Image.effect_noise((64, 64), 80).convert("RGB")
        assert picture_of(encoded(noise)).tobytes() == noise.tobytes()


class TestOrientation:
    @pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "AVIF"])
    def test_a_picture_taken_with_the_camera_turned_stands_upright(self, format: str) -> None:
        exif = Image.Exif()
        exif[0x0112] = 6
        lying = a_picture().transpose(Image.Transpose.ROTATE_90)
        picture = picture_of(encoded(lying, format, exif=exif.tobytes(), quality=95))
        assert picture.size == (48, 32)
        assert not is_close(picture.getpixel((2, 2)), TEAL)
        assert is_close(picture.getpixel((40, 2)), TEAL)

    @pytest.mark.parametrize("orientation", range(1, 9))
    def test_all_eight_exif_orientations_are_put_upright(self, orientation: int) -> None:
        turned = {
            1: None,
            2: Image.Transpose.FLIP_LEFT_RIGHT,
            3: Image.Transpose.ROTATE_180,
            4: Image.Transpose.FLIP_TOP_BOTTOM,
            5: Image.Transpose.TRANSPOSE,
            6: Image.Transpose.ROTATE_90,
            7: Image.Transpose.TRANSVERSE,
            8: Image.Transpose.ROTATE_270,
        }[orientation]
        held = a_picture() if turned is None else a_picture().transpose(turned)
        exif = Image.Exif()
        exif[0x0112] = orientation
        assert picture_of(encoded(held, "PNG", exif=exif.tobytes())).tobytes() == a_picture().tobytes()

    def test_a_mask_is_turned_with_its_picture(self) -> None:
        exif = Image.Exif()
        exif[0x0112] = 6
        assert mask_of(encoded(a_picture(), "JPEG", exif=exif.tobytes())).size == (32, 48)

    def test_exif_data_that_cannot_be_read_is_ignored(self) -> None:
        content = with_chunk(encoded(a_picture()), b"eXIf", b"MM\x00*\xff\xff\xff\xff garbage")
        assert picture_of(content).tobytes() == a_picture().tobytes()


class TestMetadata:
    def test_metadata_of_a_picture_is_not_kept(self) -> None:
        text = PngImagePlugin.PngInfo()
        text.add_text("parameters", "a secret prompt")
        exif = Image.Exif()
        exif[0x010E] = "a secret place"
        content = encoded(a_picture(), pnginfo=text, exif=exif, icc_profile=SRGB, dpi=(300, 300))
        kept = clean_picture(content, limits=LIMITS).content
        assert b"secret" not in kept
        assert decoded(kept).info == {}

    def test_bytes_behind_a_picture_are_not_kept(self) -> None:
        kept = clean_picture(encoded(a_picture(), "GIF") + b"\0\0\0\x18ftypmp42 a film", limits=LIMITS)
        assert b"film" not in kept.content

    def test_the_same_pixels_have_the_same_id_whatever_file_they_came_in(self) -> None:
        text = PngImagePlugin.PngInfo()
        text.add_text("Comment", "hello")
        files = [encoded(a_picture()), encoded(a_picture(), pnginfo=text), encoded(a_picture(), "BMP")]
        assert len({clean_picture(content, limits=LIMITS).sha256 for content in files}) == 1

    def test_a_cleaned_picture_does_not_change_when_it_is_sent_again(self) -> None:
        kept = clean_picture(encoded(a_picture(), "WEBP"), limits=LIMITS)
        assert clean_picture(kept.content, limits=LIMITS) == kept


class TestColour:
    def test_a_colour_profile_is_applied(self) -> None:
        """What this profile calls red is green."""
        swapped = SRGB.replace(b"rXYZ", b"----").replace(b"gXYZ", b"rXYZ").replace(b"----", b"gXYZ")
        red = picture_of(encoded(Image.new("RGB", (8, 8), "red"), icc_profile=swapped))
        assert is_close(red.getpixel((0, 0)), (0, 255, 0))

    def test_a_profile_of_megabytes_is_read(self) -> None:
        swapped = SRGB.replace(b"rXYZ", b"----").replace(b"gXYZ", b"rXYZ").replace(b"----", b"gXYZ")
        large = (len(swapped) + 3 * 2**20).to_bytes(4) + swapped[4:] + b"\0" * (3 * 2**20)
        red = picture_of(encoded(Image.new("RGB", (8, 8), "red"), icc_profile=large))
        assert is_close(red.getpixel((0, 0)), (0, 255, 0))

    def test_a_profile_that_unpacks_to_far_too_much_is_refused_by_name(self) -> None:
        bomb = with_chunk(encoded(a_picture()), b"iCCP", b"k\0\0" + zlib.compress(b"\0" * 10**8, 9))
        assert "colour profile" in refusal_of(bomb)

    @pytest.mark.parametrize("profile", [b"", b"no profile", b"\0" * 128, b"\xff" * 4000])
    def test_a_broken_profile_is_passed_over(self, profile: bytes) -> None:
        assert picture_of(encoded(a_picture(), icc_profile=profile)).tobytes() == a_picture().tobytes()

    def test_a_picture_that_is_in_srgb_already_hardly_changes(self) -> None:
        noise = Image.effect_noise((64, 64), 80).convert("RGB")
        changed = picture_of(encoded(noise, icc_profile=SRGB))
        assert max(abs(a - b) for a, b in zip(changed.tobytes(), noise.tobytes(), strict=True)) <= 1


class TestMasks:
    def test_a_mask_is_its_brightness(self) -> None:
        mask = mask_of(encoded(Image.new("RGB", (8, 8), "white")))
        assert (mask.mode, mask.getpixel((0, 0))) == ("L", 255)

    def test_strokes_on_a_transparent_layer_are_the_mask_whatever_their_colour(self) -> None:
        layer = Image.new("RGBA", (16, 16), (0, 0, 0, 0))
        layer.paste((0, 0, 0, 255), (4, 4, 8, 8))
        mask = mask_of(encoded(layer))
        assert (mask.getpixel((5, 5)), mask.getpixel((12, 12))) == (255, 0)

    def test_an_opaque_alpha_channel_is_not_the_mask(self) -> None:
        mask = mask_of(encoded(Image.new("RGBA", (8, 8), (0, 0, 0, 255))))
        assert mask.getpixel((0, 0)) == 0

    def test_a_fully_transparent_layer_is_an_empty_mask(self) -> None:
        assert mask_of(encoded(Image.new("RGBA", (8, 8), (255, 255, 255, 0)))).getextrema() == (0, 0)

    def test_a_mask_of_uniform_alpha_is_its_brightness(self) -> None:
        mask = black_and_white()
        mask.putalpha(128)
        assert read_by_brightness(mask)

    def test_a_mask_with_one_transparent_pixel_is_its_brightness(self) -> None:
        mask = black_and_white()
        mask.putpixel((0, 0), (0, 0, 0, 0))
        assert read_by_brightness(mask)

    def test_a_mask_of_black_and_white_with_transparent_corners_is_its_brightness(self) -> None:
        mask = black_and_white()
        mask.paste((0, 0, 0, 0), (0, 0, 10, 10))
        assert read_by_brightness(mask)

    def test_a_photograph_with_a_transparent_part_is_its_alpha(self) -> None:
        layer = Image.effect_noise((64, 64), 60).convert("RGBA")
        layer.paste((0, 0, 0, 0), (0, 0, 32, 64))
        cleaned = clean_mask(encoded(layer), limits=LIMITS)
        assert (decoded(cleaned.content).getcolors(), cleaned.note) == ([(2048, 0), (2048, 255)], None)


def black_and_white() -> Image.Image:
    """A mask of which a quarter is white, without any transparency."""
    mask = Image.new("RGBA", (64, 64), "black")
    mask.paste("white", (32, 32, 64, 64))
    return mask


def read_by_brightness(mask: Image.Image) -> bool:
    """Whether its white part alone is painted, and that is said."""
    cleaned = clean_mask(encoded(mask), limits=LIMITS)
    assert cleaned.note is not None
    assert "by its brightness" in cleaned.note
    return decoded(cleaned.content).getcolors() == [(3072, 0), (1024, 255)]


class TestRefusals:
    def test_an_upload_of_no_bytes_is_refused_as_empty(self) -> None:
        assert refusal_of(b"") == "is empty"

    @pytest.mark.parametrize(
        "content",
        [
            b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>',
            b"%PDF-1.7\n",
            b"8BPS\x00\x01" + b"\0" * 40,
            b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
            b"II*\x00\x08\x00\x00\x00\x00\x00",
            encoded(a_picture(), "TIFF"),
            encoded(a_picture(), "ICO"),
            encoded(a_picture(), "PPM"),
            b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic",
            b"\x89PNG\r\n\x1a\n",
            b"GIF89a",
            b"\xff\xd8\xff",
            b"RIFF\xff\xff\xff\xffWEBPVP8X",
            b"hello",
        ],
        ids=lambda content: repr(content[:8]),
    )
    def test_a_file_of_an_unknown_format_is_refused_with_the_known_ones(self, content: bytes) -> None:
        assert "PNG, JPEG, WebP, AVIF, GIF and BMP" in refusal_of(content)

    @pytest.mark.parametrize("format", FORMATS)
    def test_a_picture_that_was_cut_off_is_refused(self, format: str) -> None:
        content = encoded(Image.effect_noise((64, 64), 80).convert("RGB"), format)
        assert refusal_of(content[: len(content) * 3 // 4])

    def test_too_many_bytes_are_refused_unread(self) -> None:
        assert "1,048,576 bytes" in refusal_of(b"\0" * (2**20 + 1))

    @pytest.mark.parametrize("format", FORMATS)
    def test_too_many_pixels_are_refused(self, format: str) -> None:
        assert "up to 1 megapixels" in refusal_of(encoded(Image.new("L", (1001, 1000)), format))

    @pytest.mark.parametrize("side", [9_500, 30_000, 2**31 - 1])
    def test_a_header_that_promises_a_bomb_is_enough(self, side: int) -> None:
        """Pillow would warn of the first, and refuse the others with an error of its own."""
        header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
        bomb = b"\x89PNG\r\n\x1a\n" + a_chunk(b"IHDR", header) + a_chunk(b"IDAT", b"x") + a_chunk(b"IEND", b"")
        assert "too many pixels" in refusal_of(bomb)

    def test_text_that_unpacks_to_far_too_much_is_refused(self) -> None:
        bomb = with_chunk(encoded(a_picture()), b"zTXt", b"k\0\0" + zlib.compress(b"\0" * 10**8, 9))
        assert refusal_of(bomb)

    def test_a_jpeg_of_countless_scans_is_refused_undecoded(self) -> None:
        content = encoded(a_picture(), "JPEG", progressive=True)
        start = content.index(b"\xff\xda")
        stop = content.index(b"\xff\xda", start + 2)
        bomb = content[:start] + content[start:stop] * 101 + content[start:]
        assert "scans" in refusal_of(bomb)

    def test_a_jpeg_of_countless_empty_segments_is_refused_undecoded(self) -> None:
        content = encoded(a_picture(), "JPEG")
        assert "scans" in refusal_of(content[:2] + b"\xff\xfe\x00\x02" * 60_000 + content[2:])

    def test_scans_behind_the_end_of_a_jpeg_are_not_counted(self) -> None:
        content = encoded(a_picture(), "JPEG") + b"\xff\xda\x00\x02" * 1000
        assert picture_of(content).size == (48, 32)

    @pytest.mark.parametrize("size", [(1, 1000), (1000, 1)])
    def test_a_picture_of_extreme_proportions_is_refused(self, size: tuple[int, int]) -> None:
        assert "crop it" in refusal_of(encoded(Image.new("L", size)))

    def test_a_file_that_is_no_picture_is_refused_as_a_mask_too(self) -> None:
        assert refusal_of(b"hello", clean_mask)


def an_archive(content: bytes = b"") -> bytes:
    """A ZIP that unpacks, whatever stands before it."""
    file = BytesIO(content)
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr("payload.js", "alert(1)")
    return file.getvalue()


class TestPolyglots:
    @pytest.mark.parametrize("format", [*FORMATS, "MPO"])
    def test_a_picture_that_is_an_archive_too_is_refused(self, format: str) -> None:
        both = an_archive(encoded(a_picture(), format))
        assert decoded(both).size == (48, 32)
        assert zipfile.ZipFile(BytesIO(both)).namelist() == ["payload.js"]
        assert "a ZIP archive appended to its end" in refusal_of(both)

    @pytest.mark.parametrize(
        "foreign",
        [
            *(b"%PDF-1.7\n%", b"<!DOCTYPE html><html>", b"<HTML><body>", b"<?php system($_GET[0]);", b"<script>"),
            *(b"<svg onload='alert(1)'>", b"MZ\x90\0", b"\x7fELF\2\1", b"Rar!\x1a\x07\0", b"7z\xbc\xaf'\x1c"),
        ],
    )
    @pytest.mark.parametrize("padding", [b"", b"\0\0\r\n"])
    def test_a_file_of_another_kind_behind_a_picture_is_refused(self, padding: bytes, foreign: bytes) -> None:
        for format in FORMATS:
            content = encoded(a_picture(), format) + padding + foreign + b"x" * 40
            assert "appended to its end" in refusal_of(content), format

    def test_a_page_behind_an_animation_is_refused(self) -> None:
        frames = {"save_all": True, "append_images": [a_picture(colour="gold")]}
        for format in ("PNG", "GIF", "WEBP", "AVIF", "MPO"):
            assert "a page" in refusal_of(encoded(a_picture(), format, **frames) + b"<html>"), format

    @pytest.mark.parametrize("format", FORMATS)
    def test_data_that_phones_and_editors_leave_behind_a_picture_is_ignored(self, format: str) -> None:
        """A film, a second picture, what a larger one left when it was cropped, filling."""
        jpeg, noise = encoded(a_picture(), "JPEG"), bytes(range(256)) * 20
        for rest in (b"\0\0\0\x18ftypmp42", jpeg, noise, b"\0" * 5000, b"\n", b"..MZ.."):
            assert picture_of(encoded(a_picture(), format) + rest).size == (48, 32)

    @pytest.mark.parametrize("format", FORMATS)
    def test_metadata_that_looks_like_another_kind_of_file_is_not_refused(self, format: str) -> None:
        exif = Image.Exif()
        exif[0x010E] = "<html> PK\x03\x04 %PDF- a description"
        assert picture_of(encoded(a_picture(), format, exif=exif)).size == (48, 32)


def test_a_picture_that_waits_too_long_for_a_decoder_is_refused_as_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoderpool, "_MOST_WAITING_SECONDS", 0.05)
    with busy_decoders(), pytest.raises(Busy):
        clean_picture(encoded(a_picture()), limits=LIMITS)
    assert clean_picture(encoded(a_picture()), limits=LIMITS).width == 48


def test_several_threads_may_clean_at_once() -> None:
    contents = [encoded(a_picture(colour=colour), format) for colour in ("teal", "gold") for format in FORMATS]
    with ThreadPoolExecutor(4) as threads:
        cleaned = list(threads.map(lambda content: clean_picture(content, limits=LIMITS), contents * 3))
    assert [picture.sha256 for picture in cleaned[:12]] == [picture.sha256 for picture in cleaned[24:]]


def test_another_process_gives_the_same_picture_the_same_id() -> None:
    program = (
        "from farm.pictures.clean import *; from tests.pictures import *;"
        "print(clean_picture(encoded(a_picture(), 'PNG'), limits=PictureLimits(10**6, 10**6)).sha256)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == clean_picture(encoded(a_picture()), limits=LIMITS).sha256
