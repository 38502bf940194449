"""What people write for a place is understood, or answered with the forms that are."""

from pathlib import Path

import pytest

from farm.weights.hub.sources import (
    BadSource,
    CivitaiSource,
    HuggingFaceSource,
    LocalSource,
    WebSource,
    parse_source,
)

DIGEST = "ab" * 32


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("hf:owner/repo", HuggingFaceSource("owner/repo")),
        ("hf:owner/repo@v1.0", HuggingFaceSource("owner/repo", "v1.0")),
        ("hf:owner/repo@refs/pr/1", HuggingFaceSource("owner/repo", "refs/pr/1")),
        ("hf:owner/repo:a/b.safetensors", HuggingFaceSource("owner/repo", None, "a/b.safetensors")),
        ("hf:owner/repo@main:b (1).ckpt", HuggingFaceSource("owner/repo", "main", "b (1).ckpt")),
        ("civitai:123", CivitaiSource(123)),
        ("civitai:123@456", CivitaiSource(123, 456)),
        ("civitai:@456", CivitaiSource(None, 456)),
        ("https://host/a.safetensors?dl=1", WebSource("https://host/a.safetensors?dl=1")),
        (f"https://host/a.ckpt#sha256={DIGEST}", WebSource("https://host/a.ckpt", DIGEST)),
        ("https://host/a.ckpt#sha256=abababab01", WebSource("https://host/a.ckpt", "abababab01")),
        ("http://127.0.0.1:8000/a", WebSource("http://127.0.0.1:8000/a")),
        ("http://[::1]:8000/a", WebSource("http://[::1]:8000/a")),
    ],
)
def test_a_source_is_parsed_and_written_back(text: str, source: object) -> None:
    assert parse_source(f" {text}\n") == source
    assert str(source) == text


@pytest.mark.parametrize(
    ("page", "text"),
    [
        ("https://huggingface.co/owner/repo", "hf:owner/repo"),
        ("https://huggingface.co/owner/repo/", "hf:owner/repo"),
        ("https://hf.co/owner/repo/tree/main", "hf:owner/repo@main"),
        ("https://huggingface.co/owner/repo/blob/main/x.safetensors", "hf:owner/repo@main:x.safetensors"),
        ("https://huggingface.co/owner/repo/resolve/v1/a/x.bin?download=true", "hf:owner/repo@v1:a/x.bin"),
        ("https://huggingface.co/owner/repo/blob/refs%2Fpr%2F3/x%20y.ckpt", "hf:owner/repo@refs/pr/3:x y.ckpt"),
        ("https://huggingface.co/owner/repo/discussions/7", "hf:owner/repo"),
        ("https://civitai.com/models/123", "civitai:123"),
        ("https://civitai.com/models/123/some-title?modelVersionId=456#x", "civitai:123@456"),
        ("https://civitai.com/api/download/models/456?type=Model&token=secret", "civitai:@456"),
    ],
)
def test_the_address_of_a_models_page_names_the_model(page: str, text: str) -> None:
    assert str(parse_source(page)) == text


def test_a_file_on_disk_is_a_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.safetensors").touch()
    assert parse_source("a.safetensors") == LocalSource(tmp_path / "a.safetensors")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "is no file or folder here"),
        ("no-such-file", "is no file or folder here"),
        ("hf:repo", "is not of the form hf:owner/repo"),
        ("hf:owner/repo:../secret", "is not of the form hf:owner/repo"),
        ("hf:owner/repo:/etc/passwd", "is not of the form hf:owner/repo"),
        ("hf:owner/../../api", "is not of the form hf:owner/repo"),
        ("hf:owner/repo@../../x", "is not of the form hf:owner/repo"),
        ("civitai:", "is not of the form civitai:ID"),
        ("civitai:name", "is not of the form civitai:ID"),
        ("http://host/a", "is not an https:// address"),
        ("ftp://host/a", "is not an https:// address"),
        ("https://", "is not an https:// address"),
        ("https://host/a.ckpt#sha256=abab", "after its #"),
        (f"https://host/a.ckpt#sha256={DIGEST}0", "after its #"),
        (f"https://host/a.ckpt#md5={DIGEST}", "after its #"),
        ("https://[half/a", "cannot be read"),
        ("https://huggingface.co/datasets/owner/name", "is not the page of a model"),
        ("https://huggingface.co/owner", "is not the page of a model"),
        ("https://civitai.com/images/1", "is not the page of a model"),
        (f"https://civitai.com/models/1#sha256={DIGEST}", "leave #sha256= out"),
    ],
)
def test_text_that_is_no_source_is_answered_with_the_known_forms(text: str, why: str) -> None:
    with pytest.raises(BadSource, match=why) as caught:
        parse_source(text)
    assert "civitai:ID[@version]" in str(caught.value)


@pytest.mark.parametrize("text", ["https://me:pa55word@host/a", "http://host/a?token=pa55word"])
def test_a_password_in_an_address_is_not_repeated(text: str) -> None:
    with pytest.raises(BadSource) as caught:
        parse_source(text)
    assert "pa55word" not in str(caught.value)
