"""The command line, used wrongly: nothing is done by mistake, no false all-clear is given, what to do is said."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command
from typer.testing import CliRunner, Result

from nugetproxy.cli.commands import app
from tests.conftest import Proxy
from tests.fakes.feed import FakeFeed
from tests.fakes.packages import make_nupkg

ROOT = Path(__file__).parent.parent
FEED = "https://feed.invalid/v3/index.json"


def run(*words: object, **environ: str) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words], env=environ)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "proxy.toml"
    file.write_text(f'[cache]\ndirectory = "{tmp_path / "cache"}"\n[upstreams.up]\nurl = "{FEED}"\n', encoding="utf-8")
    return file


def started(file: Path) -> None:
    """Make a cache as a first start does."""
    assert run("token", "add", "first", "--scope", "read", "--config", file).exit_code == 0


LOOKING = [
    ["stats"],
    ["ls"],
    ["purge", "Acme.A"],
    ["keep"],
    ["unkeep", "Acme.A"],
    ["evict", "--simulate"],
    ["verify"],
    ["audit"],
    ["who", "Acme.A"],
    ["sbom", "--token", "x"],
    ["restores"],
    ["provenance", "verify"],
    ["provenance", "export"],
    ["claims"],
    ["token", "list"],
    ["backup", "FILE"],
    ["export", "FILE"],
    ["ledger", "begin-afresh"],
    ["reload"],
]


@pytest.mark.parametrize("words", [["backup"], ["import"], ["provenance", "export"]], ids=" ".join)
def test_a_path_that_cannot_be_looked_at_is_a_line(words: list[str], file: Path) -> None:
    started(file)
    place = f"/tmp/{'x' * 300}"
    result = run(*words, place, "--config", file)
    assert (result.exit_code, result.stdout, result.stderr) == (1, "", f"{place}: File name too long.\n")


def test_a_folder_that_cannot_be_looked_at_is_no_upstream(tmp_path: Path) -> None:
    result = run("serve", "--cache-dir", tmp_path, "--upstream", f"./{'x' * 300}")
    assert (result.exit_code, "a folder that cannot be looked at: File name too long" in result.stderr) == (78, True)


@pytest.mark.parametrize("words", [["verify"], ["stats"], ["export", "FILE"]], ids=" ".join)
def test_what_lies_there_of_another_configuration_is_named(words: list[str], file: Path, tmp_path: Path) -> None:
    """Of a proxy that was started with another upstream everything seemed to be well, and nothing to be held."""
    for part in ("up/packages", "other/packages", "logs"):
        (tmp_path / "cache" / part).mkdir(parents=True)
    result = run(*(str(tmp_path / "out") if word == "FILE" else word for word in words), "--config", file)
    assert result.exit_code == 0
    assert result.stderr.splitlines()[0] == (
        "Packages of other lie there, too, but are not looked at: the configuration has no upstream of this name. "
        "--config names the one that the proxy runs with."
    )


@pytest.mark.parametrize("words", LOOKING, ids=" ".join)
@pytest.mark.parametrize("there", [False, True], ids=["no directory", "another one"])
def test_where_no_proxy_has_run_nothing_is_well(words: list[str], file: Path, tmp_path: Path, there: bool) -> None:
    cache = tmp_path / "cache"
    if there:
        cache.mkdir()
        (cache / "notes.txt").write_text("no cache")
    result = run(*(str(tmp_path / "out") if word == "FILE" else word for word in words), "--config", file)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == (
        f"There is no cache in {cache}: no proxy has run with it. Name the proxy's by --config, or --cache-dir.\n"
    )
    assert [one.name for one in cache.iterdir()] == ["notes.txt"] if there else not cache.exists()
    assert not (tmp_path / "out").exists()


def test_packages_that_were_copied_into_a_new_directory_are_a_cache(file: Path, tmp_path: Path) -> None:
    (tmp_path / "cache" / "up" / "packages").mkdir(parents=True)
    assert run("verify", "--config", file).stdout == "0 packages (0 bytes) read, 0 damaged.\n"


def test_what_must_be_done_before_the_first_start_can_be(file: Path) -> None:
    for words in (["keep", "Acme.A@1.0.0"], ["token", "add", "farm", "--scope", "read"], ["explain", "Acme.A"]):
        assert run(*words, "--config", file).exit_code == 0, words
    assert "farm" in run("token", "list", "--config", file).stdout


@pytest.mark.parametrize(
    "words",
    [["who", "Acme.A@"]]
    + [
        [word, *package]
        for word in ("purge", "explain")
        for package in (["Acme.A@"], ["Acme.A", ""], ["Acme.A@1.0.0", "2.0.0"])
    ],
    ids=" ".join,
)
def test_a_version_that_is_missing_is_not_all_of_them(words: list[str], file: Path) -> None:
    started(file)
    result = run(*words, "--config", file)
    assert result.exit_code == 64, result.output
    assert "version" in result.stderr


@pytest.mark.parametrize("word", ["keep", "unkeep"])
def test_a_version_that_is_missing_keeps_nothing_and_lets_nothing_go(word: str, file: Path) -> None:
    started(file)
    assert run("keep", "Acme.A", "--config", file).exit_code == 0
    result = run(word, "Acme.A@", "--config", file)
    assert (result.exit_code, "lacks its version" in result.stderr) == (1, True)
    assert "acme.a" in run("keep", "--config", file).stdout


def test_a_package_is_explained_as_it_is_purged(file: Path) -> None:
    one, other = (run("explain", *words, "--config", file) for words in (["Acme.A@1.0"], ["Acme.A", "1.0"]))
    assert one.stdout == other.stdout
    assert "acme.a 1.0.0 in the feed 'up' could only come from up" in one.stdout


def test_one_that_is_not_kept_does_not_hide_what_became_of_the_others(file: Path) -> None:
    started(file)
    for id_ in ("Acme.A", "Acme.C"):
        run("keep", id_, "--config", file)
    result = run("unkeep", "Acme.A", "Acme.B", "Acme.C", "--config", file)
    assert result.exit_code == 1
    assert result.stdout == "Acme.A: 1 package is no longer kept.\nAcme.C: 1 package is no longer kept.\n"
    assert result.stderr == "Acme.B was not kept; 'nugetproxy keep' lists what is.\n"


def test_a_number_that_is_too_large_is_said_to_be(file: Path) -> None:
    started(file)
    result = run("restores", "9" * 40, "--config", file)
    assert (result.exit_code, result.stderr) == (1, "The argument 'number' must be a number of at most 2^53.\n")
    assert run("evict", "--simulate", "--unused-for", "forever", "--config", file).exit_code == 0


def test_a_name_that_no_file_can_have_is_no_file(file: Path) -> None:
    started(file)
    for word in ("keep", "unkeep"):
        result = run(word, "a" * 300, "--config", file)
        assert (result.exit_code, "is not a package id" in result.stderr) == (1, True)
    result = run("export", "", "--config", file)
    assert (result.exit_code, result.stderr) == (64, ". is a folder; name the file that is to be the bundle.\n")


@pytest.mark.parametrize("name", ["package.lock.json", "Packages.Lock.jsn", "projects.assets.json", "App.csproj"])
def test_a_misspelt_file_is_not_kept_as_a_package(name: str, file: Path) -> None:
    started(file)
    result = run("keep", "Acme.A", name, "--config", file)
    said = f"There is no file {name}; if it is the id of a package, write {name}@VERSION.\n"
    assert (result.exit_code, result.stdout, result.stderr) == (64, "", said)
    assert run("keep", "--config", file).stdout == "Nothing is kept.\n"
    for id_ in (f"{name}@1.0.0", "Newtonsoft.Json", "NuGet.Packaging.Config", "NuGet.LockFile", "Project.Assets"):
        assert run("keep", id_, "--config", file).exit_code == 0


def test_a_version_by_itself_is_no_package(file: Path) -> None:
    started(file)
    for word in ("keep", "unkeep"):
        result = run(word, "Acme.A", "1.2.0-beta", "--config", file)
        assert (result.exit_code, result.stderr) == (64, "1.2.0-beta is a version; write ID@1.2.0-beta.\n")
    assert run("keep", "--config", file).stdout == "Nothing is kept.\n"
    result = run("refresh", "Acme.A@1.0.0", "--config", file)
    assert (result.exit_code, result.stderr) == (1, "'Acme.A@1.0.0' is not a package id.\n")


def test_a_sound_ledger_is_never_begun_afresh(file: Path, tmp_path: Path) -> None:
    started(file)
    result = run("ledger", "begin-afresh", "--config", file)
    said = f"The ledger in {tmp_path / 'cache'} is sound, so it stays as it is.\n"
    assert (result.exit_code, result.stdout, result.stderr) == (1, "", said)
    assert not list((tmp_path / "cache").glob("ledger.db.corrupt-*"))
    assert run("token", "list", "--config", file).stdout.startswith("first\t")


def test_nor_is_that_of_a_newer_version(file: Path, tmp_path: Path) -> None:
    started(file)
    with contextlib.closing(sqlite3.connect(tmp_path / "cache" / "ledger.db")) as ledger:
        ledger.execute("PRAGMA user_version = 1000")
    result = run("ledger", "begin-afresh", "--config", file)
    assert (result.exit_code, result.stdout, "a newer nugetproxy made its ledger" in result.stderr) == (75, "", True)
    assert not list((tmp_path / "cache").glob("ledger.db.corrupt-*"))


def test_an_empty_ledger_is_said_to_have_no_tokens(file: Path, tmp_path: Path) -> None:
    """Which may open a feed to everybody."""
    started(file)
    (tmp_path / "cache" / "ledger.db").write_bytes(b"?")
    result = run("ledger", "begin-afresh", "--config", file)
    assert (result.exit_code, result.stderr.startswith("Tokens are forgotten, too")) == (0, True)
    assert run("token", "list", "--config", file).stderr == "There is no token.\n"
    assert "tokens" in run("ledger", "begin-afresh", "-h").stdout


def test_that_there_is_nothing_is_said(file: Path) -> None:
    run("explain", "Acme.A", "--config", file)
    for words, said in ((["token", "list"], "There is no token.\n"), (["claims"], "There is no claim.\n")):
        result = run(*words, "--config", file)
        assert (result.exit_code, result.stdout, result.stderr) == (0, "", said)


def test_a_bundle_that_cannot_be_written_is_not_blamed_on_what_was_evicted(file: Path, tmp_path: Path) -> None:
    started(file)
    for words in (["/no/such/folder/b.tar.zst"], [tmp_path / "b", "--since", tmp_path / "none"]):
        result = run("export", *words, "--config", file)
        assert (result.exit_code, "No such file" in result.stderr, "evicted" in result.stderr) == (1, True, False)


def test_where_all_is_in_folders_there_is_nothing_to_carry(tmp_path: Path) -> None:
    (tmp_path / "shelf").mkdir()
    (tmp_path / "proxy.toml").write_text(f'[upstreams.shelf]\nurl = "{tmp_path / "shelf"}"\n')
    for word, what in (("export", tmp_path / "b"), ("import", tmp_path / "shelf")):
        result = run(word, what, "--config", tmp_path / "proxy.toml", "--cache-dir", tmp_path / "cache")
        assert (result.exit_code, "All upstreams are folders of packages" in result.stderr) == (1, True)


@pytest.mark.parametrize("pattern", ["acme.mispelt", "acme.mispelt*"])
async def test_a_pattern_of_nothing_is_missing(pattern: str, proxy: Proxy, feed: FakeFeed) -> None:
    from nugetproxy.jobs.inner_client import InnerClient
    from nugetproxy.jobs.mirror import Mirroring, Selection

    feed.add(make_nupkg("Acme.A", "1.0.0"))
    wish = Selection(patterns=("acme.a", pattern))
    done = await Mirroring(InnerClient(lambda: proxy.app.desk, "test"), wish).run(lambda _one: None)
    assert (done.versions, [str(one) for one in done.missing]) == (1, [f"{pattern}: the feed has no such package"])


def helps(command: Any, path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], list[str]]]:
    """Every command's path with what is written to explain it."""
    if hasattr(command, "list_commands"):
        found = [helps(command.get_command(None, name), (*path, name)) for name in command.list_commands(None)]
        return [one for each in found for one in each]
    return [(path, [command.help, *(one.help for one in command.params if getattr(one, "help", None))])]


def test_the_help_shows_every_word_of_it() -> None:
    for path, texts in helps(get_command(app)):
        shown = " ".join(run(*path, "-h", COLUMNS="4000").stdout.split())
        for text in texts:
            assert " ".join(text.split()) in shown, path


@pytest.mark.parametrize("words", ["--help", "init", "CHECK", "LS"])
@pytest.mark.parametrize("stdout", [">/dev/full", ">&-"])
def test_output_that_cannot_be_written_is_no_traceback(words: str, stdout: str, file: Path) -> None:
    words = {"CHECK": f"check-config {file}", "LS": f"keep --config {file}"}.get(words, words)
    started(file)
    command = f"{sys.executable} -m nugetproxy {words} {stdout}"
    finished = subprocess.run(command, shell=True, capture_output=True, text=True, check=False, timeout=60, cwd=ROOT)
    if stdout == ">&-":
        assert (finished.returncode, finished.stderr) == (0, "")
    else:
        said = "What it prints cannot be written: No space left on device.\n"
        assert (finished.returncode, finished.stderr) == (1, said)


@pytest.mark.parametrize(
    "url", ["http://[::1", "http://[/x]/", "ftp://host", "http://u:secret@host", "http://a b", "http://"]
)
def test_an_address_that_is_none_is_said_to_be_none(url: str) -> None:
    for words in (["--proxy", url], ["--leaks", "--proxy", url]):
        result = run("doctor", *words, COLUMNS="200")
        assert (result.exit_code, result.stdout) == (2, "")
        assert "Invalid value for --proxy" in result.stderr
        assert "secret" not in result.stderr


def test_no_colour_is_written_where_none_is_wanted(file: Path) -> None:
    result = CliRunner().invoke(app, ["check-config", str(file)], env={"NO_COLOR": "1"}, color=True)
    assert (result.exit_code, "\x1b" in result.stdout) == (0, False)


def test_lists_are_json_for_programs(file: Path) -> None:
    started(file)
    found = json.loads(run("token", "list", "--json", "--config", file).stdout)
    assert [(one["name"], one["scopes"]) for one in found["tokens"]] == [("first", ["read"])]
    assert json.loads(run("claims", "--json", "--config", file).stdout) == {"claims": []}
    result = run("claims", "release", "Acme.A", "--json", "--config", file)
    assert (result.exit_code, json.loads(result.stdout)) == (1, {"released": []})
    told = json.loads(run("explain", "Acme.A", "--json", "--config", file).stdout)
    assert (told["id"], told["served_by"], [one["name"] for one in told["sources"]]) == ("acme.a", "up", ["up"])
    for word in ("status", "du", "gc"):
        assert "--json" in run("cluster", word, "-h").stdout
