"""Places reads what names a host, a URL, a network, a path, an upstream."""

from __future__ import annotations

import hashlib
import ipaddress
import re
from pathlib import Path
from typing import TypeAlias
from urllib.parse import SplitResult, unquote, urlsplit

from msgspec import Struct

from nugetproxy.on_disk import is_dir

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

RESERVED_NAMES = frozenset(
    {
        "v3",
        "health",
        "metrics",
        "symbols",
        "tools",
        "tools.json",
        "documents",
        "entries",
        "format",
        "lock",
        "run",
        "catalog.db",
        "holdings.db",
        "ledger.db",
        "history.db",
        "provenance.log",
    }
)
"""First path segments of ours, then what else lies (or is to lie) in the cache directory."""

DEFAULT_PORTS = {"http": 80, "https": 443}

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_HOST = re.compile(r"(?=.{1,253}$)[a-z0-9_]([a-z0-9_-]{0,62})(\.[a-z0-9_][a-z0-9_-]{0,62})*\.?", re.IGNORECASE)
_USUAL_ENDING = re.compile(r"(?:/v3)?(?:/index\.json)?/?$", re.IGNORECASE)


class Address(Struct, frozen=True):
    """Where a server listens; ``host`` is a name or an IP address without brackets."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can connect."""
        return self.host.lower() == "localhost" or _ip_is(self.host, "is_loopback")

    @property
    def is_wildcard(self) -> bool:
        """Whether it means every address of this machine, as 0.0.0.0 does."""
        return _ip_is(self.host, "is_unspecified")


def _ip_is(host: str, what: str) -> bool:
    try:
        return bool(getattr(ipaddress.ip_address(host), what))
    except ValueError:
        return False


def parse_address(text: str) -> Address:
    """Read "127.0.0.1:5555", "[::1]:5555", "localhost:0"; raises ValueError."""
    host, colon, port = text.rpartition(":")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not colon or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ValueError(f'{text!r} is not an address to listen on; write HOST:PORT, such as "127.0.0.1:5555"')
    if not bare or bare == "*":
        raise ValueError(f'{text!r} names no host; write "127.0.0.1:{port}" for this machine, "0.0.0.0:{port}" for all')
    if ":" in bare and bare == host:
        raise ValueError(f"{text!r}: an IPv6 address needs brackets, as in [::1]:5555")
    return Address(parse_host(bare), int(port))


def parse_host(text: str) -> str:
    """A host name or IP address, without scheme, port, brackets; raises ValueError."""
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        if _HOST.fullmatch(text) is None:
            raise ValueError(f"{text!r} is not a host name (no scheme, no port, no path)") from None
    return text.lower().rstrip(".")


def parse_network(text: str) -> Network:
    """Read "10.0.0.0/8" or a single address; raises ValueError."""
    try:
        return ipaddress.ip_network(text)
    except ValueError as error:
        raise ValueError(f'not a network: {error}; write an address or a range, such as "10.0.0.0/8"') from None


def split_url(text: str) -> SplitResult:
    """An absolute http(s) URL without credentials, fragment, blanks; raises ValueError that does not repeat it."""
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise ValueError("not a URL; its host or port is malformed") from error
    if parts.scheme not in DEFAULT_PORTS or not parts.hostname or port == 0:
        raise ValueError("not an absolute URL; it must begin with https:// (or http://) and a host name")
    if "@" in parts.netloc:
        raise ValueError('a URL must not hold credentials; use username = "..." and password = "env:NAME"')
    if parts.fragment or not text.isascii() or not text.isprintable() or " " in text or "\\" in text:
        raise ValueError("the URL holds a fragment, blanks, a backslash or characters that need percent-encoding")
    parse_host(parts.hostname)
    return parts


def parse_url(text: str) -> str:
    """An upstream's service index URL, or the place of a folder of packages, unchanged; raises ValueError."""
    if folder_of(text) is None:
        split_url(text)
    return text


def place_or_url(text: str) -> str:
    """What the command line says: an existing folder, also a relative one, as an absolute path, anything else as is.

    Raises ValueError for what looks like the path of a folder that does not exist.
    """
    if not text.strip():
        raise ValueError("is empty; write a service index, as https://host/v3/index.json, or a folder of packages")
    if ":" in text.partition("/")[0]:
        return text
    folder = Path(parse_path(text)).expanduser()
    try:
        exists = is_dir(folder)
    except OSError as error:
        raise ValueError(f"a folder that cannot be looked at: {error.strerror}") from error
    if not exists:
        raise ValueError("neither an absolute URL, as https://host/v3/index.json, nor a folder that exists")
    return str(folder.absolute())


def folder_of(text: str) -> Path | None:
    """The folder that an upstream's ``file:`` URL or absolute path names; None for other URLs; raises ValueError."""
    if text.startswith(("/", "~/")):
        return Path(parse_path(text)).expanduser()
    if not text.lower().startswith("file:"):
        return None
    parts = urlsplit(text)
    if parts.netloc.lower() not in ("", "localhost") or not parts.path.startswith("/") or parts.query or parts.fragment:
        raise ValueError("the URL of a folder is written as file:///path/to/packages")
    return Path(unquote(parts.path))


def parse_path(text: str) -> str:
    """The path of a file or folder, unchanged; raises ValueError, which does not repeat it, for one that is nowhere."""
    try:
        Path(text).expanduser()
    except RuntimeError:
        raise ValueError("there is no such home directory; write a path that begins with /") from None
    if "\0" in text:
        raise ValueError("a path holds no zero byte")
    return text


def parse_site_url(text: str) -> str:
    """The URL of something that is no feed, without a slash at its end; empty for none; raises ValueError."""
    if text and split_url(text).query:
        raise ValueError("the URL must not hold a query")
    return text.rstrip("/")


def parse_public_url(text: str) -> str:
    """The URL below which clients see us, without a slash at its end; empty if not set; raises ValueError."""
    if not text:
        return ""
    if split_url(text).query:
        raise ValueError("public_url must not hold a query")
    if text.endswith("/index.json"):
        raise ValueError('public_url is what stands before "/v3/index.json", such as "https://nuget.example.com"')
    return text.rstrip("/")


def parse_origin(text: str) -> str:
    """A scheme, a host and a port as "https://host:443"; raises ValueError."""
    parts = split_url(text)
    if parts.path not in ("", "/") or parts.query:
        raise ValueError('an origin is scheme and host only, such as "https://pkgs.example.com"')
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return f"{parts.scheme}://{host}:{parts.port or DEFAULT_PORTS[parts.scheme]}"


def parse_egress(text: str) -> tuple[str, str, str]:
    """An HTTP proxy, as ``http://user:password@host:3128``: its URL, the user name, the password.

    Raises ValueError, which does not repeat it.
    """
    try:
        parts = urlsplit(text)
        port = parts.port or DEFAULT_PORTS["http"]
    except ValueError as error:
        raise ValueError("not a URL; its host or port is malformed") from error
    if parts.scheme != "http" or not parts.hostname or parts.path not in ("", "/") or parts.query or parts.fragment:
        raise ValueError('not an HTTP proxy; write its address as "http://proxy.example.com:3128"')
    host = parse_host(parts.hostname)
    shown = f"[{host}]" if ":" in host else host
    return f"http://{shown}:{port}", unquote(parts.username or ""), unquote(parts.password or "")


def parse_no_proxy(text: str) -> str:
    """A host that is asked directly: a name with all below it, an address, a range, "*"; raises ValueError."""
    if "/" in text:
        parse_network(text)
    elif not text or "://" in text or not text.isprintable() or " " in text:
        raise ValueError(f"{text!r} is neither a host name nor an address nor a range; no scheme, no path")
    return text


def parse_name(text: str) -> str:
    """An upstream's name; raises ValueError."""
    if _NAME.fullmatch(text) is None:
        raise ValueError("a name is 1 to 64 of a-z 0-9 . _ - and begins with a letter or digit")
    if text in RESERVED_NAMES:
        raise ValueError(f"the name is taken by the proxy itself (as are {', '.join(sorted(RESERVED_NAMES))})")
    return text


def safe_url(url: str) -> str:
    """``url`` without user information, query, fragment: fit to be printed."""
    folder = folder_of(url)
    if folder is not None:
        return str(folder)
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def is_nuget_org(url: str) -> bool:
    """Whether the feed at ``url`` is nuget.org's own."""
    host = (urlsplit(url).hostname or "").rstrip(".")
    return host == "nuget.org" or host.endswith(".nuget.org")


def is_private_place(url: str) -> bool:
    """Whether ``url`` names an address that only a network of its own reaches, or this machine."""
    host = (urlsplit(url).hostname or "").rstrip(".")
    return host == "localhost" or host.endswith(".localhost") or _ip_is(host, "is_private")


def feed_of(url: str) -> str:
    """The feed at ``url``, the same for whatever scheme, case of the host or usual port; fit to be printed."""
    parts = split_url(url)
    usual = parts.port in (None, *DEFAULT_PORTS.values())
    query = f"?{hashlib.blake2b(parts.query.encode(), digest_size=4).hexdigest()}" if parts.query else ""
    return f"{(parts.hostname or '').rstrip('.')}{'' if usual else f':{parts.port}'}{parts.path.rstrip('/')}{query}"


def derive_name(url: str) -> str:
    """A readable name for the upstream at ``url``, the same every time; different URLs get different names.

    "nuget.org" for nuget.org's own index; else the host, the port if unusual, and what is unusual in the path,
    with a short digest wherever turning it into a name lost something. A folder is called as its last part is, with
    a digest of the whole path.
    """
    folder = folder_of(url)
    if folder is not None:
        return _with_digest(re.sub(r"[^a-z0-9._-]+", "-", folder.name.lower()).strip("-._") or "folder", str(folder))
    parts = split_url(url)
    path = _USUAL_ENDING.sub("", parts.path)
    if parts.hostname == "api.nuget.org" and not path and parts.port is None and not parts.query:
        return "nuget.org"
    port = f"-{parts.port}" if parts.port not in (None, DEFAULT_PORTS[parts.scheme]) else ""
    plain = f"{parts.hostname}{port}{path.replace('/', '-')}"
    name = re.sub(r"[^a-z0-9._-]+", "-", plain.lower()).strip("-._")[:64]
    faithful = plain == name and "-" not in path and not parts.query and "//" not in parts.path
    if faithful and name not in RESERVED_NAMES:
        return name
    return _with_digest(name, url)


def _with_digest(name: str, whole: str) -> str:
    return f"{name[:55]}-{hashlib.blake2b(whole.encode(), digest_size=4).hexdigest()}"
