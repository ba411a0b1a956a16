"""Which addresses may be requested: public ones, by http and https; and how an address is shown."""

import functools
import re
import socket
from collections.abc import Collection
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from yarl import URL

SCHEMES = ("http", "https")

# Azure's metadata server has a public address; those of other clouds are link-local or private.
_METADATA_SERVERS = frozenset({"168.63.129.16"})
# The only global unicast addresses assigned by IANA; the others are private, local, reserved or obsolete.
_GLOBAL_UNICAST = ip_network("2000::/3")
# The prefix under which NAT64 translates to IPv4 (RFC 6052).
_NAT64 = ip_network("64:ff9b::/96")
_IPV4_BITS = 0xFFFFFFFF
# Top-level names of local networks (RFC 6761, RFC 6762, RFC 8375, and ICANN's for private use).
_LOCAL_NAMES = ("localhost", "local", "home.arpa", "internal")

_ADDRESS = re.compile(r"\b([A-Za-z][A-Za-z0-9+.-]*://)([^\s'\"<>|]+)")
_QUERY_VALUE = re.compile(r"([^&;=]+)=[^&;]*")
_HIDDEN = "***"


class AddressError(ValueError):
    """An address may not be requested; `reason` is the reason in a few words."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def check_address(address: str, private_hosts: Collection[str] = ()) -> URL:
    """Checks the parts of an address that can be checked without resolving its host's name.

    Args:
        address: Address as in a catalog or in a redirect.
        private_hosts: Hosts that may be private, as in `is_exempt`.

    Returns:
        The address, parsed.

    Raises:
        AddressError: With the reason `bad address`, `address not http(s)`, `address with credentials` or `private
            address`.
    """
    try:
        url = URL(address)
        host, _ = url.raw_host, url.port  # both are parsed only when read
    except ValueError as error:
        raise AddressError("bad address") from error
    if url.scheme not in SCHEMES:
        raise AddressError("address not http(s)" if url.scheme else "bad address")
    if not host:
        raise AddressError("bad address")
    if url.user is not None or url.password is not None:
        raise AddressError("address with credentials")
    if not is_exempt(host, private_hosts) and _is_private(host):
        raise AddressError("private address")
    return url


def is_exempt(host: str, private_hosts: Collection[str]) -> bool:
    """Returns whether a host is one of those that may be private: names or IP addresses, in any case."""
    return host.rstrip(".").casefold() in _normalise(tuple(private_hosts))


@functools.lru_cache(maxsize=16)
def _normalise(hosts: tuple[str, ...]) -> frozenset[str]:
    return frozenset(host.strip("[]").rstrip(".").casefold() for host in hosts)


def is_public(ip: str) -> bool:
    """Returns whether an IP address is one of the public internet, and no cloud's metadata server.

    An IPv6 address that stands for an IPv4 one is judged as that: IPv4-mapped (RFC 4291), NAT64 (RFC 6052) and 6to4
    (RFC 3056).

    Args:
        ip: IPv4 or IPv6 address in the usual notation; an IPv6 zone is ignored.

    Raises:
        ValueError: It is no IP address.
    """
    address = ip_address(ip.partition("%")[0])
    if isinstance(address, IPv6Address):
        embedded = _find_embedded(address)
        if embedded is None:
            return address in _GLOBAL_UNICAST and address.is_global
        address = embedded
    return address.is_global and not address.is_multicast and str(address) not in _METADATA_SERVERS


def redact(text: str) -> str:
    """Returns a text without the secrets of the addresses in it: user names, passwords, values of queries."""
    return _ADDRESS.sub(lambda found: found[1] + _redact_rest(found[2]), text)


def has_credentials(address: str) -> bool:
    """Returns whether an address has a password, or, of http and https, a user name.

    The user name of other addresses is none: in `abfs://container@account/path` it is a container.
    """
    for scheme, rest in _ADDRESS.findall(address):
        user, at, _ = re.split(r"[/?#]", rest, maxsplit=1)[0].rpartition("@")
        if at and (":" in user or scheme.removesuffix("://").casefold() in SCHEMES):
            return True
    return False


def _find_embedded(address: IPv6Address) -> IPv4Address | None:
    if address in _NAT64:
        return IPv4Address(int(address) & _IPV4_BITS)
    return address.ipv4_mapped or address.sixtofour


@functools.lru_cache(maxsize=1024)  # a catalog's posters are on few hosts
def _is_private(host: str) -> bool:
    """Returns whether a host is a private address in any spelling, or a name of local networks."""
    name = host.rstrip(".").casefold()
    if any(name == local or name.endswith(f".{local}") for local in _LOCAL_NAMES):
        return True
    try:
        return not is_public(name)
    except ValueError:
        pass
    try:
        # The other spellings of IPv4 addresses, such as 2130706433 and 0x7f.1, which resolvers understand.
        return not is_public(socket.inet_ntoa(socket.inet_aton(name)))
    except (OSError, UnicodeEncodeError):
        return False  # a name: the addresses that it resolves to are checked when they are connected to


def _redact_rest(rest: str) -> str:
    authority, slash, path = rest.partition("/")
    if "@" in authority:
        authority = f"{_HIDDEN}@{authority.rpartition('@')[2]}"
    before, mark, query = f"{authority}{slash}{path}".partition("?")
    if not mark:
        return before
    query, hash_mark, fragment = query.partition("#")
    hidden = _QUERY_VALUE.sub(rf"\1={_HIDDEN}", query) if "=" in query else _HIDDEN * bool(query)
    return f"{before}?{hidden}{hash_mark}{fragment}"
