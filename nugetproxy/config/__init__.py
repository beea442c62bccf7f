"""The configuration: typed settings from command line, environment, TOML file; every error names its key."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from nugetproxy.config.checks import conditions, contradictions, warnings
from nugetproxy.config.feeds import FeedTable
from nugetproxy.config.layers import Layer, Tree, environment_layer, file_layer, flags_layer, overlaid
from nugetproxy.config.model import Cache, Config, Limits, Log, Server, Symbols, Tools
from nugetproxy.config.places import Address, derive_name, feed_of, safe_url
from nugetproxy.config.problems import problem_lines
from nugetproxy.config.secrets import Secret
from nugetproxy.config.tables import Mistakes, read
from nugetproxy.config.upstream import Upstream
from nugetproxy.errors import ConfigError

__all__ = [
    "Address",
    "Cache",
    "Config",
    "FeedTable",
    "Limits",
    "Log",
    "Secret",
    "Server",
    "Symbols",
    "Tools",
    "Upstream",
    "conditions",
    "derive_name",
    "feed_of",
    "load",
    "safe_url",
    "warnings",
]


def load(
    file: Path | None = None,
    *,
    listen: str | None = None,
    upstreams: Sequence[str] = (),
    cache_dir: str | None = None,
    offline: bool = False,
    environ: Mapping[str, str] | None = None,
) -> Config:
    """The configuration from flags, then ``NUGETPROXY_...`` variables, then ``file``, then the defaults.

    ``upstreams`` are service index URLs or folders of packages; when given, they replace all configured upstreams, with
    the feeds that are made of those. ``offline`` is for all upstreams. ``environ`` is the process's environment unless
    given. Raises ConfigError with one line per problem.
    """
    environ = os.environ if environ is None else environ
    flags = flags_layer(listen, tuple(upstreams), cache_dir)
    layers = [environment_layer(environ), *([file_layer(file)] if file is not None else [])]
    if upstreams:
        layers = [layer.without("upstreams").without("feeds") for layer in layers]
    config = _merge([flags, *layers])
    if offline:
        config = config.all_offline()
    if found := contradictions(config, environ):
        raise ConfigError(found)
    return config


def _merge(layers: Sequence[Layer]) -> Config:
    """One Config of all layers, the first one winning; raises ConfigError."""
    values: Tree = {}
    for layer in reversed(layers):
        values = overlaid(values, layer.values)
    try:
        return read(Config, values)
    except Mistakes as mistakes:
        raise ConfigError(problem_lines(mistakes.found, layers)) from None
