"""The command line: start the proxy, check a configuration file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console

from nugetproxy import __version__
from nugetproxy.config import Config, load, safe_url, warnings
from nugetproxy.errors import AddressUnusable, ConfigError, StoreUnusable
from nugetproxy.nuget.identity import PackageIdentity

EX_USAGE = 64
"""sysexits.h: the command was used wrongly."""
EX_TEMPFAIL = 75
"""sysexits.h: try again later; here: the cache directory or the address is in use, or not usable."""
EX_CONFIG = 78
"""sysexits.h: something is wrong in the configuration."""

app = typer.Typer(
    name="nugetproxy",
    help="A caching proxy for NuGet V3 feeds.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,
    pretty_exceptions_enable=False,
)


def main() -> None:
    """The entry point of the ``nugetproxy`` command."""
    app()


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"nugetproxy {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """A caching proxy for NuGet V3 feeds."""


@app.command()
def serve(
    config: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A TOML file; see config/nugetproxy.toml.")
    ] = None,
    listen: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="Where to listen; port 0 takes a free one.")
    ] = None,
    upstream: Annotated[
        list[str] | None,
        typer.Option(
            metavar="URL|DIR",
            help="A service index, or a folder of packages, instead of the configured upstreams; may be repeated.",
        ),
    ] = None,
    cache_dir: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where packages and documents are kept.")
    ] = None,
    offline: Annotated[
        bool, typer.Option("--offline", help="Never ask an upstream: what is stored is the feed.")
    ] = False,
) -> None:
    """Run the proxy until it is told to stop; without options, one of nuget.org on 127.0.0.1:5555."""
    settings = _load_or_exit(config, listen=listen, upstreams=upstream or [], cache_dir=cache_dir, offline=offline)
    from nugetproxy.serve import run  # the whole server: not needed to say what is wrong in a file

    try:
        code = run(settings)
    except (StoreUnusable, AddressUnusable) as error:
        _fail([str(error)], EX_TEMPFAIL)
    raise typer.Exit(code)


@app.command()
def purge(
    package: Annotated[str, typer.Argument(metavar="ID", help="The package.")],
    version: Annotated[str | None, typer.Argument(metavar="[VERSION]", help="One version; else all held ones.")] = None,
    config: Annotated[Path | None, typer.Option(metavar="FILE", help="The TOML file that the proxy runs with.")] = None,
    cache_dir: Annotated[Path | None, typer.Option(metavar="DIR", help="The cache directory.")] = None,
) -> None:
    """Remove a package from the cache, with its documents and its pinned hash; only while the proxy is stopped."""
    settings = _load_or_exit(config, cache_dir=cache_dir)
    identity = PackageIdentity.parse(package, version or "1.0.0")
    if identity is None:
        _fail([f"{package} {version or ''}".rstrip() + " is not a package id with a version."], EX_USAGE)
    from nugetproxy.purge import run

    try:
        done, documents = run(settings, identity.id, identity.version if version else None)
    except StoreUnusable as error:
        _fail([str(error)], EX_TEMPFAIL)
    for one in done:
        typer.echo(f"{one.feed}: {len(one.packages)} packages, {one.size} bytes {' '.join(one.packages)}".rstrip())
    typer.echo(f"{documents} documents")


@app.command()
def demo(
    keep: Annotated[bool, typer.Option("--keep", help="Go on serving afterwards, to play with it.")] = False,
) -> None:
    """Show in some seconds what the proxy is for: an upstream, a proxy and restores on this machine, no network."""
    from nugetproxy.demo.play import run

    raise typer.Exit(run(Console(highlight=False), keep=keep))


@app.command("check-config")
def check_config(file: Annotated[Path, typer.Argument(metavar="FILE", help="The TOML file to check.")]) -> None:
    """Say what is wrong in a configuration file, together with the environment variables that override it."""
    settings = _load_or_exit(file)
    for warning in warnings(settings):
        typer.echo(f"warning: {warning}", err=True)
    console = Console(highlight=False, soft_wrap=True)
    console.print(f"{file} is valid.", style="green", markup=False)
    for line in _summary(settings):
        console.print(line, markup=False)


@app.command()
def doctor(
    leaks: Annotated[
        bool, typer.Option("--leaks", help="List every published URL that leads elsewhere, and why.")
    ] = False,
    config: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A TOML file; its upstreams are examined.")
    ] = None,
    upstream: Annotated[
        list[str] | None, typer.Option(metavar="URL", help="A service index to examine instead; may be repeated.")
    ] = None,
    proxy: Annotated[
        str, typer.Option(metavar="URL", help="The service index of a running proxy to examine instead.")
    ] = "",
    package: Annotated[
        list[str] | None, typer.Option(metavar="ID", help="A package to look at; else some that a search finds.")
    ] = None,
) -> None:
    """Examine what the proxy publishes; exit code 1 when something is wrong with it."""
    if not leaks:
        _fail(["nothing to examine; say --leaks"], EX_USAGE)
    settings = _load_or_exit(config, upstreams=upstream or [])
    from nugetproxy.doctor import find_leaks  # the whole server

    found = find_leaks(settings, proxy=proxy, packages=package or [], console=Console(highlight=False))
    raise typer.Exit(1 if found else 0)


def _summary(config: Config) -> list[str]:
    upstreams = [f"Upstream {name}: {safe_url(upstream.url)}" for name, upstream in config.upstreams.items()]
    return [f"Listens on {config.server.listen}", *upstreams, f"Stores in {config.cache.path}"]


def _load_or_exit(
    file: Path | None,
    *,
    listen: str | None = None,
    upstreams: list[str] | None = None,
    cache_dir: Path | None = None,
    offline: bool = False,
) -> Config:
    directory = None if cache_dir is None else str(cache_dir)
    try:
        return load(file, listen=listen, upstreams=upstreams or [], cache_dir=directory, offline=offline)
    except ConfigError as error:
        _fail(error.problems, EX_CONFIG)


def _fail(lines: list[str] | tuple[str, ...], code: int) -> NoReturn:
    for line in lines:
        typer.echo(line, err=True)
    raise typer.Exit(code)
