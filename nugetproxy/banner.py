"""The banner tells, at start, how to point NuGet at the proxy."""

from __future__ import annotations

from collections.abc import Iterator

from nugetproxy.config import Address, Config, safe_url
from nugetproxy.config.units import size_text
from nugetproxy.nuget.client_config import NUGET_CONFIG, source_line


def banner(config: Config, address: Address) -> str:
    """What is printed when the proxy listens on ``address`` (with the port that it really got); several lines."""
    base = public_base(config, address)
    shown = config.feeds or config.published  # an upstream beside its feed would be a way around that one's guard
    paths = [(name, path) for name, path in feed_paths(tuple(config.published)) if name in shown]
    sources = "\n".join(f"    {source_line(name, f'{base}{path}')}" for name, path in paths)
    return "\n".join(
        (
            f"Listening on {scheme_of(config)}://{address}/v3/index.json",
            *_facts(config),
            "",
            "To use it, put this into nuget.config beside your solution:",
            "",
            NUGET_CONFIG.format(sources=sources),
            "",
        )
    )


def scheme_of(config: Config) -> str:
    """By which clients reach our own sockets."""
    return "http" if config.server.certificate is None else "https"


def feed_paths(names: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Each published feed's name with the path of its service index; the first one has the short path."""
    for number, name in enumerate(names):
        yield name, f"/{name}/v3/index.json" if number else "/v3/index.json"


def public_base(config: Config, address: Address) -> str:
    """The URL, without a slash at its end, by which clients are to call us."""
    if config.server.public_url:
        return config.server.public_url
    if not address.is_wildcard:
        return f"{scheme_of(config)}://{address}"
    host = config.server.allowed_hosts[0] if config.server.allowed_hosts else "127.0.0.1"
    return f"{scheme_of(config)}://{Address(host, address.port)}"


def _facts(config: Config) -> Iterator[str]:
    for name, upstream in config.upstreams.items():
        if upstream.folder is not None:
            yield f"Serving {name}: the packages in {upstream.folder}"
            continue
        state = " (offline: only what is stored)" if upstream.offline else ""
        yield f"Proxying {name}: {safe_url(upstream.url)}{state}"
    for name, feed in config.feeds.items():
        yield f"Publishing {name}: one feed of {', '.join(feed.sources)}"
    yield f"Storing in {config.cache.path} (packages up to {size_text(config.cache.max_size)})"
