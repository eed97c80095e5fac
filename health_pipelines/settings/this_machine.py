"""Which names stand for this machine. Pure.

Belongs here: that. Does not belong here: what may be asked of others (`http/addresses.py`).
"""

from ipaddress import ip_address


def is_loopback(hostname: str) -> bool:
    """Whether the name stands for this machine, without asking a name server."""
    if hostname == "localhost":
        return True
    try:
        return ip_address(hostname).is_loopback
    except ValueError:
        return False
