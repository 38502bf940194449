"""Which addresses count as one: what an address may do is counted for what a single subscriber has."""

from ipaddress import IPv6Address, ip_address, ip_network


def share_of(address: str) -> str:
    """What counts as one address: an IPv6 network of 64 bits, which is what a single subscriber is given."""
    try:
        found = ip_address(address)
    except ValueError:
        return address
    if not isinstance(found, IPv6Address):
        return str(found)
    if found.ipv4_mapped:
        return str(found.ipv4_mapped)
    return str(found) if found.is_loopback else str(ip_network((found, 64), strict=False))
