"""Forbids the network to a Python process; this machine's own addresses stay reachable.

It watches the `socket` module, which everything written in Python goes through. It does not reach
programs that are not Python, and Python started with -E, -I or -S.
"""

import ipaddress
import socket
import sys

_installed = False


class NetworkForbidden(OSError):
    """Something tried to leave this machine. An OSError, as on a machine without a network."""


def forbid_network() -> None:
    """From now on, reaching for another machine raises NetworkForbidden in this process."""
    global _installed
    if not _installed:
        sys.addaudithook(_watch)
        _installed = True


def _watch(event: str, arguments: tuple) -> None:
    match event:
        case "socket.connect" | "socket.sendto" | "socket.sendmsg":
            connection, address = arguments
            if connection.family not in (socket.AF_INET, socket.AF_INET6) or not address:
                return
            host = address[0]
        case "socket.getaddrinfo" | "socket.gethostbyname" | "socket.gethostbyaddr":
            host = arguments[0]
        case "socket.getnameinfo":
            host = arguments[0][0]
        case _:
            return
    if not _is_this_machine(host):
        raise NetworkForbidden(
            f"the tests run without a network, but something tried to reach {host!r} ({event})"
        )


def _is_this_machine(host: str | bytes | None) -> bool:
    if isinstance(host, bytes):
        host = host.decode()
    if host in (None, "", "localhost", socket.gethostname()):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False  # a name that would have to be looked up
    return address.is_loopback or address.is_unspecified
