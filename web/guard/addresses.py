"""Which addresses count as one: limits apply to all addresses of a single subscriber together."""

from ipaddress import IPv6Address, ip_address, ip_network


def share_of(address: str) -> str:
    """The unit that limits apply to: an IPv6 network of 64 bits, which one subscriber gets, or an IPv4 address."""
    try:
        found = ip_address(address)
    except ValueError:
        return address
    if not isinstance(found, IPv6Address):
        return str(found)
    if found.ipv4_mapped:
        return str(found.ipv4_mapped)
    return str(found) if found.is_loopback else str(ip_network((found, 64), strict=False))
