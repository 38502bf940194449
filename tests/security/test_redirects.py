"""A hub, or whoever speaks for it, cannot send a download to a server that only this machine reaches."""

import pytest

from farm.hub.transport import DownloadError, check_redirect

PUBLIC = "https://93.184.216.34/file"


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
    with pytest.raises(DownloadError, match="which is not asked"):
        check_redirect(PUBLIC, f"https://{host}/latest/meta-data")


@pytest.mark.parametrize("url", ["http://93.184.216.34/file", "file:///etc/passwd", "ftp://93.184.216.34/a"])
def test_a_redirect_to_what_is_not_encrypted_is_not_followed(url: str) -> None:
    with pytest.raises(DownloadError, match="which is not asked"):
        check_redirect(PUBLIC, url)


def test_a_redirect_to_another_public_server_is_followed() -> None:
    check_redirect(PUBLIC, "https://93.184.215.14/file")


def test_a_mirror_in_the_own_network_may_redirect_within_it() -> None:
    check_redirect("https://10.0.0.7/file", "https://10.0.0.8/file")


def test_a_name_that_only_a_proxy_knows_is_followed() -> None:
    check_redirect(PUBLIC, "https://cdn.invalid/file")
