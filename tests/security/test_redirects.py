"""A hub, or whoever speaks for it, cannot send a download to a server that only this machine reaches."""

import ipaddress
from collections.abc import Callable

import httpx
import pytest

from farm.pictures.fetcher import Address
from farm.weights.hub.transport import DownloadError, check_redirect, find_next_page

PUBLIC = "https://93.184.216.34/file"
METADATA = "https://169.254.169.254/latest/meta-data"


def named(**hosts: str) -> Callable[[str, int], list[Address]]:
    """A look-up that knows these hosts, each by its addresses."""
    return lambda host, _: [ipaddress.ip_address(found) for found in hosts.get(host, host).split()]


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "127.1", "2130706433", "0x7f000001", "localhost", "[::1]", "0.0.0.0", "[::]"),
        # Where clouds keep credentials.
        *("169.254.169.254", "[fe80::1]", "[fd00:ec2::254]"),
        *("10.0.0.7", "192.168.1.1", "172.16.0.1", "100.64.0.1"),
        # The same, mapped into IPv6 or translated to it.
        *("[::ffff:169.254.169.254]", "[::ffff:7f00:1]", "[64:ff9b::7f00:1]"),
    ],
)
def test_a_redirect_to_an_address_that_is_not_public_is_not_followed(host: str) -> None:
    with pytest.raises(DownloadError, match="which is not requested"):
        check_redirect(PUBLIC, f"https://{host}/latest/meta-data")


@pytest.mark.parametrize("url", ["http://93.184.216.34/file", "file:///etc/passwd", "ftp://93.184.216.34/a"])
def test_a_redirect_to_an_unencrypted_address_is_not_followed(url: str) -> None:
    with pytest.raises(DownloadError, match="which is not requested"):
        check_redirect(PUBLIC, url)


def test_a_redirect_to_another_public_server_is_followed() -> None:
    check_redirect(PUBLIC, "https://93.184.215.14/file")


def test_a_mirror_in_the_own_network_may_redirect_within_it() -> None:
    check_redirect("https://10.0.0.7/file", "https://10.0.0.8/file")


def test_a_name_that_only_a_proxy_knows_is_followed() -> None:
    check_redirect(PUBLIC, "https://cdn.invalid/file")


def test_a_hub_that_names_a_private_address_beside_its_own_is_still_on_the_internet() -> None:
    with pytest.raises(DownloadError, match="which is not requested"):
        check_redirect("https://hub/file", METADATA, named(hub="93.184.216.34 10.0.0.7"))


def test_a_redirect_to_a_name_with_one_private_address_is_not_followed() -> None:
    with pytest.raises(DownloadError, match="which is not requested"):
        check_redirect(PUBLIC, "https://cdn/file", named(cdn="93.184.215.14 127.0.0.1"))


def test_a_mirror_whose_name_is_wholly_of_the_own_network_may_redirect_within_it() -> None:
    check_redirect("https://hub/file", "https://10.0.0.8/file", named(hub="10.0.0.7 fd00::7"))


def answer_with_next(page: str) -> httpx.Response:
    return httpx.Response(200, headers={"Link": f'<{page}>; rel="next"'})


@pytest.mark.parametrize("page", [METADATA, "http://93.184.216.34/2", "file:///etc/passwd", "//127.0.0.1/2"])
def test_a_next_page_that_no_redirect_may_lead_to_is_not_asked(page: str) -> None:
    with pytest.raises(DownloadError, match="which is not requested"):
        find_next_page(PUBLIC, answer_with_next(page), named())


@pytest.mark.parametrize("page", ["https://93.184.216.34/file?page=2", "?page=2"])
def test_a_next_page_of_the_same_hub_is_asked(page: str) -> None:
    assert find_next_page(PUBLIC, answer_with_next(page), named()) == f"{PUBLIC}?page=2"


def test_an_answer_without_a_next_page_is_the_last() -> None:
    assert find_next_page(PUBLIC, httpx.Response(200), named()) is None
