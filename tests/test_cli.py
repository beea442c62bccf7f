"""The command line: what it starts, what it says, with which exit code."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
import types
from pathlib import Path
from xml.etree import ElementTree

import pytest
from typer.testing import CliRunner, Result

from nugetproxy import __version__
from nugetproxy.banner import banner
from nugetproxy.cli.commands import COMMANDS, app
from nugetproxy.cli.plain import plain_start
from nugetproxy.config import Address, Config, load
from nugetproxy.errors import StoreUnusable
from nugetproxy.web.control import admin_socket
from nugetproxy.web.listening import AddressUnusable, own_socket

ROOT = Path(__file__).parent.parent
FEED = "https://feed.example.com/v3/index.json"


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Config]:
    """What ``serve`` would have run; the server itself is replaced."""
    configs: list[Config] = []
    fake = types.ModuleType("nugetproxy.serve")
    fake.run = lambda config, _again: configs.append(config) or 0  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "nugetproxy.serve", fake)
    for variable in ("NUGETPROXY_SERVER__LISTEN", "NUGETPROXY_CACHE__DIRECTORY"):
        monkeypatch.delenv(variable, raising=False)
    return configs


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_the_version_is_printed() -> None:
    result = run("--version")
    assert (result.exit_code, result.stdout) == (0, f"nugetproxy {__version__}\n")


@pytest.mark.parametrize("arguments", [("-h",), ("purge", "-h"), ("doctor", "--help")])
def test_help_is_there_for_every_command(arguments: tuple[str, ...]) -> None:
    result = run(*arguments)
    assert result.exit_code == 0
    assert "Usage:" in result.stdout


def test_the_help_names_every_command() -> None:
    text = run("--help").stdout
    assert all(f" {name} " in text for name in COMMANDS)


def test_a_misspelt_command_is_answered_with_the_right_one() -> None:
    result = run("purg")
    assert result.exit_code == 2
    assert "Did you mean 'purge'?" in result.stderr


def test_a_shell_completes_commands_and_options() -> None:
    for words, wanted in (("nugetproxy pu", "purge"), ("nugetproxy serve --li", "--listen")):
        environ = {"_NUGETPROXY_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
        code = "from nugetproxy.cli.commands import app\napp(prog_name='nugetproxy')"
        finished = in_a_process(code, **environ)
        assert finished.stdout.split() == [wanted]


def test_a_command_loads_no_other_ones_module() -> None:
    finished = in_a_process(
        "import sys\nfrom nugetproxy.cli.commands import app\n"
        "app(['purge', '-h'], standalone_mode=False)\n"
        "print(*sorted(name for name in sys.modules if name.startswith('nugetproxy.')), file=sys.stderr)\n"
    )
    assert "nugetproxy.cli.purge" in finished.stderr.split()
    assert not {"nugetproxy.cli.serve", "nugetproxy.cli.doctor", "nugetproxy.config"} & set(finished.stderr.split())


def in_a_process(code: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """What some lines of Python print in a fresh interpreter."""
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        cwd=ROOT,
        env=os.environ | environ,
    )


def test_the_module_is_the_command() -> None:
    finished = subprocess.run(
        [sys.executable, "-m", "nugetproxy", "--version"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        cwd=ROOT,
    )
    assert (finished.returncode, finished.stdout, finished.stderr) == (0, f"nugetproxy {__version__}\n", "")


def test_serve_without_options_runs_the_defaults(started: list[Config]) -> None:
    assert run("serve").exit_code == 0
    assert started == [load(environ={})]


def test_serve_takes_a_file_and_options_that_override_it(started: list[Config], tmp_path: Path) -> None:
    file = tmp_path / "proxy.toml"
    file.write_text('[server]\nlisten = "127.0.0.1:1"\ndrain = "1s"\n', encoding="utf-8")
    result = run(
        "serve", "--config", file, "--listen", "127.0.0.1:0", "--cache-dir", tmp_path / "cache", "--upstream", FEED
    )
    assert result.exit_code == 0, result.output
    (config,) = started
    assert (config.server.listen, config.server.drain) == (Address("127.0.0.1", 0), 1.0)
    assert config.cache.path == tmp_path / "cache"
    assert list(config.upstreams) == ["feed.example.com"]


def test_several_upstreams_can_be_given(started: list[Config]) -> None:
    assert run("serve", "--upstream", FEED, "--upstream", "https://other.example/v3/index.json").exit_code == 0
    assert list(started[0].upstreams) == ["feed.example.com", "other.example"]


def test_all_upstreams_can_be_taken_offline(started: list[Config]) -> None:
    assert (
        run("serve", "--offline", "--upstream", FEED, "--upstream", "https://other.example/v3/index.json").exit_code
        == 0
    )
    assert [upstream.offline for upstream in started[0].upstreams.values()] == [True, True]


def test_the_exit_code_is_the_servers(started: list[Config], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["nugetproxy.serve"], "run", lambda *_: 143)
    assert run("serve").exit_code == 143
    assert started == []


def test_an_unusable_cache_directory_is_one_line_and_exit_75(
    started: list[Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> int:
        raise StoreUnusable("/cache", "process 12 uses it", "Stop that one, or choose another --cache-dir.")

    monkeypatch.setattr(sys.modules["nugetproxy.serve"], "run", refuse)
    result = run("serve")
    assert result.exit_code == 75
    assert result.stderr == (
        "Cannot use the cache directory /cache: process 12 uses it. Stop that one, or choose another --cache-dir.\n"
    )
    assert started == []


def test_mistakes_are_one_line_each_on_stderr_and_exit_78(started: list[Config], tmp_path: Path) -> None:
    file = tmp_path / "proxy.toml"
    file.write_text('[server]\nlisen = "x"\n[cache]\nmax_size = "lots"\n', encoding="utf-8")
    for arguments in (("serve", "--config", file), ("check-config", file)):
        result = run(*arguments)
        assert result.exit_code == 78
        assert result.stdout == ""
        assert sorted(result.stderr.splitlines()) == [
            f'{file}: cache.max_size: \'lots\' is not a size; write a number and a unit, such as "512 MiB" or "50 GiB"',
            f"{file}: server.lisen: is unknown; did you mean server.listen?",
        ]
    assert started == []


def test_a_wrong_variable_stops_the_start(started: list[Config], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUGETPROXY_SERVER__LISEN", "x")
    result = run("serve")
    assert result.exit_code == 78
    assert result.stderr.startswith("NUGETPROXY_SERVER__LISEN: server.lisen: is unknown; did you mean server.listen?")
    assert started == []


def test_check_config_says_that_a_file_is_right_and_what_it_means(tmp_path: Path) -> None:
    file = tmp_path / "a [b]" / "proxy.toml"
    file.parent.mkdir()
    file.write_text(f'[upstreams.a]\nurl = "{FEED.replace("https", "http")}"\n', encoding="utf-8")
    result = run("check-config", file)
    assert result.exit_code == 0
    assert f"{file} is valid." in result.stdout
    assert "Upstream a: http://feed.example.com/v3/index.json" in result.stdout
    assert result.stderr.startswith("warning: upstreams.a.url: ")


def test_the_file_to_check_is_named_as_for_any_other_command_too(tmp_path: Path) -> None:
    file = tmp_path / "proxy.toml"
    file.write_text(f'[upstreams.a]\nurl = "{FEED}"\n', encoding="utf-8")
    assert run("check-config", "--config", file).stdout == run("check-config", file).stdout
    for words in ((), (file, "--config", file)):
        result = run("check-config", *words)
        assert (result.exit_code, result.stdout) == (64, "")
        assert result.stderr == "Name the file to check, once: 'nugetproxy check-config FILE'.\n"


def test_checking_does_not_load_the_server(tmp_path: Path) -> None:
    (tmp_path / "proxy.toml").touch()
    code = (
        "import sys\nfrom nugetproxy.cli.commands import app\n"
        f"app(['check-config', {str(tmp_path / 'proxy.toml')!r}], standalone_mode=False)\n"
        "assert 'aiohttp' not in sys.modules\n"
    )
    finished = in_a_process(code)
    assert finished.returncode == 0, finished.stderr


def test_the_server_is_loaded_without_what_it_never_uses() -> None:
    finished = in_a_process(
        "import gc, ssl, sys\nfrom nugetproxy.cli.lean import lean_imports\n"
        "with lean_imports():\n    import nugetproxy.serve\n"
        "assert 'rich' not in sys.modules\nassert gc.isenabled()\n"
        "assert ssl.create_default_context.__module__ == 'ssl'\n"
        "from aiohttp.connector import _SSL_CONTEXT_VERIFIED as shared\n"
        "print(shared.cert_store_stats()['x509'], shared.verify_mode.name, shared.check_hostname)\n"
        "import rich\n"
    )
    assert (finished.returncode, finished.stdout) == (0, "0 CERT_REQUIRED True\n"), finished.stderr


PLAIN = [
    ("serve",),
    ("serve", "--listen", "127.0.0.1:7", "--cache-dir", "/one", "--offline"),
    ("serve", "--listen=127.0.0.1:7", "--cache-dir=/one=two"),
    ("serve", "--upstream", FEED, "--upstream", "http://127.0.0.1:9/v3/index.json"),
    ("serve", "--config", "{file}", f"--upstream={FEED}"),
]


@pytest.mark.parametrize("words", PLAIN, ids=" ".join)
def test_a_plain_start_is_that_of_the_command(words: tuple[str, ...], started: list[Config], tmp_path: Path) -> None:
    file = tmp_path / "proxy.toml"
    file.write_text('[log]\nlevel = "debug"\n')
    words = tuple(word.format(file=file) for word in words)
    start = plain_start(words)
    assert start is not None
    assert (start.run_alone(), run(*words).exit_code) == (0, 0)
    alone, by_command = started
    assert alone == by_command
    assert alone.log.level == ("debug" if "--config" in words else "info")


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("check-config",),
        ("--version",),
        ("serve", "--help"),
        ("serve", "-h"),
        ("serve", "--listn", "x"),
        ("serve", "more"),
        ("serve", "--"),
        ("serve", "--listen"),
        ("serve", "--listen", "--offline"),
        ("serve", "--listen", "127.0.0.1:1", "--listen", "127.0.0.1:2"),
        ("serve", "--config", " "),
        ("serve", "--config="),
        ("serve", "--offline=yes"),
    ],
    ids=" ".join,
)
def test_what_needs_an_explanation_is_no_plain_start(words: tuple[str, ...]) -> None:
    assert plain_start(words) is None


def test_a_plain_start_says_what_is_wrong_as_the_command_does(
    started: list[Config], capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("serve", "--upstream", "ftp://x")
    start = plain_start(words)
    assert start is not None
    code, said = start.run_alone(), capsys.readouterr()
    by_command = run(*words)
    assert (code, said.out, said.err) == (by_command.exit_code, by_command.stdout, by_command.stderr)
    assert (code, said.err.partition(":")[0], started) == (78, "--upstream", [])


def test_an_internal_error_shows_no_values(started: list[Config], monkeypatch: pytest.MonkeyPatch) -> None:
    code = (
        "import sys, types\nfake = types.ModuleType('nugetproxy.serve')\n"
        "def run(config, again):\n    secret = 'can' + 'ary'\n    raise RuntimeError('internal')\n"
        "fake.run = run\nsys.modules['nugetproxy.serve'] = fake\n"
        "sys.argv = ['nugetproxy', 'serve']\nfrom nugetproxy.cli import main\nmain()\n"
    )
    finished = in_a_process(code)
    assert finished.returncode == 1
    assert "RuntimeError: internal" in finished.stderr
    assert "canary" not in finished.stderr + finished.stdout
    assert started == []


# --- the banner ------------------------------------------------------------------------------------------------------


def sources_in(text: str) -> dict[str, dict[str, str]]:
    """The package sources of the nuget.config in a banner."""
    document = text[text.index("<?xml") :].strip()
    return {add.attrib.pop("key"): add.attrib for add in ElementTree.fromstring(document).iter("add")}


def test_the_banner_says_where_it_listens_what_it_proxies_where_it_stores() -> None:
    lines = banner(load(environ={}, cache_dir="/cache"), Address("127.0.0.1", 5555)).splitlines()
    assert lines[0] == "Listening on http://127.0.0.1:5555/v3/index.json"
    assert "Proxying nuget.org: https://api.nuget.org/v3/index.json" in lines
    assert "Storing in /cache (packages up to 50 GiB)" in lines


def test_the_banner_has_a_nuget_config_to_paste() -> None:
    config = load(environ={}, upstreams=[FEED, "https://other.example/v3/index.json"])
    assert sources_in(banner(config, Address("::1", 7))) == {
        "feed.example.com": {
            "value": "http://[::1]:7/v3/index.json",
            "protocolVersion": "3",
            "allowInsecureConnections": "true",
        },
        "other.example": {
            "value": "http://[::1]:7/other.example/v3/index.json",
            "protocolVersion": "3",
            "allowInsecureConnections": "true",
        },
    }


FARM = """
[upstreams.company]
url = "https://pkgs.example.com/v3/index.json"
private = true
[upstreams."nuget.org"]
url = "https://api.nuget.org/v3/index.json"
[feeds.farm]
sources = ["company", "nuget.org"]
[feeds.company]
sources = ["company"]
"""


def test_the_banner_names_feeds_and_not_the_ways_around_them(tmp_path: Path) -> None:
    (tmp_path / "farm.toml").write_text(FARM)
    text = banner(load(tmp_path / "farm.toml", environ={}), Address("127.0.0.1", 7))
    assert {name: one["value"] for name, one in sources_in(text).items()} == {
        "farm": "http://127.0.0.1:7/v3/index.json",
        "company": "http://127.0.0.1:7/company/v3/index.json",
    }
    assert "Publishing farm: one feed of company, nuget.org" in text.splitlines()
    assert "Publishing company: one feed of company" in text.splitlines()


def test_check_config_names_feeds(tmp_path: Path) -> None:
    (tmp_path / "farm.toml").write_text(FARM)
    assert "Feed farm: company, nuget.org" in run("check-config", tmp_path / "farm.toml").stdout.splitlines()


def test_check_config_names_rules_and_the_day_that_a_feed_is_pinned_to(tmp_path: Path) -> None:
    rules = '[[feeds.farm.rules]]\nname = "wait"\nmin_age = "7d"\n[[feeds.farm.rules]]\nname = "new"\ndry_run = true\n'
    pinned = FARM.replace("[feeds.farm]", '[feeds.farm]\nasof = "2026-03-01"')
    (tmp_path / "farm.toml").write_text(pinned + rules)
    told = "Feed farm: rules wait, new (on trial); shown as it was at 2026-03-01 00:00:00 UTC"
    assert told in run("check-config", tmp_path / "farm.toml").stdout.splitlines()


def test_over_https_no_insecure_connection_is_allowed() -> None:
    config = load(environ={"NUGETPROXY_SERVER__PUBLIC_URL": "https://nuget.example.com/sub/"})
    text = banner(config, Address("127.0.0.1", 5555))
    assert text.startswith("Listening on http://127.0.0.1:5555/v3/index.json\n")
    assert sources_in(text) == {
        "nuget.org": {"value": "https://nuget.example.com/sub/v3/index.json", "protocolVersion": "3"}
    }


@pytest.mark.parametrize(("hosts", "shown"), [("", "127.0.0.1"), ("cache.example,other", "cache.example")])
def test_a_wildcard_address_is_not_what_clients_are_told(hosts: str, shown: str) -> None:
    config = load(environ={"NUGETPROXY_SERVER__ALLOWED_HOSTS": hosts}, listen="0.0.0.0:5555")
    text = banner(config, Address("0.0.0.0", 5555))
    assert text.startswith("Listening on http://0.0.0.0:5555/v3/index.json\n")
    assert sources_in(text)["nuget.org"]["value"] == f"http://{shown}:5555/v3/index.json"


def test_the_banner_shows_no_query_of_an_upstream() -> None:
    config = load(environ={}, upstreams=[f"{FEED}?sig=canary"])
    assert "canary" not in banner(config, Address("127.0.0.1", 1))


# --- what cannot be ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (OSError(errno.EADDRINUSE, "x"), 75, ("it is in use", "Stop what uses it")),
        (OSError(errno.EADDRNOTAVAIL, "x"), 75, ("this machine has no such address",)),
        (PermissionError(errno.EACCES, "x"), 78, ("permission denied", "below 1024", "a higher port")),
        (socket.gaierror(socket.EAI_NONAME, "x"), 78, ("its host name does not resolve", "Correct the name")),
        (socket.gaierror(socket.EAI_AGAIN, "x"), 78, ("its host name does not resolve",)),
        (OSError(errno.ENOBUFS, "No buffer space available"), 75, ("No buffer space available",)),
    ],
)
def test_an_address_where_nobody_can_listen_is_told_with_what_to_do(
    started: list[Config], monkeypatch: pytest.MonkeyPatch, error: OSError, code: int, words: tuple[str, ...]
) -> None:
    def refuse(*_: object) -> int:
        raise AddressUnusable.of("host:80", error)

    monkeypatch.setattr(sys.modules["nugetproxy.serve"], "run", refuse)
    result = run("serve")
    assert result.exit_code == code
    assert result.stderr.startswith("Cannot listen on host:80: ")
    assert all(word in result.stderr for word in words)
    assert ("Stop what uses it" in result.stderr) is (error.errno == errno.EADDRINUSE)
    assert started == []


def test_where_operators_cannot_come_in_is_told_by_its_own_key(tmp_path: Path) -> None:
    with pytest.raises(AddressUnusable, match=r"Set another server\.admin_listen, in a folder that is there"):
        admin_socket(tmp_path / "none" / "admin.sock")
    with pytest.raises(AddressUnusable, match=r"Set server\.admin_listen to an address of this machine"):
        own_socket("192.0.2.1", 0, "server.admin_listen")


@pytest.mark.parametrize("option", ["--cache-dir", "--upstream", "--listen", "--config"])
@pytest.mark.parametrize("empty", ["", " "])
def test_an_empty_option_is_a_mistake(started: list[Config], option: str, empty: str) -> None:
    result = run("serve", option, empty)
    assert result.exit_code in {2, 78}
    assert option in result.stderr
    assert started == []
