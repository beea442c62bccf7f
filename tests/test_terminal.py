"""Sentences of commands are read in a terminal of any width."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from nugetproxy.cli.commands import app
from nugetproxy.cli.tables import as_json, table
from nugetproxy.cli.terminal import folded, say
from tests.fakes.process import ROOT, clean_environ

SENTENCE = "Nothing new is known of nobody.has.it: up: it has no such package; shelf: /srv/packages has none."


@pytest.mark.parametrize("most", [40, 60, 80])
def test_a_sentence_goes_on_below_itself(most: int) -> None:
    lines = folded(f"  {SENTENCE}", most).splitlines()
    assert len(lines) > 1
    assert max(map(len, lines)) <= most
    assert [line[:4].strip() == "" for line in lines] == [False, *[True] * (len(lines) - 1)]
    assert " ".join(line.strip() for line in lines) == SENTENCE


@pytest.mark.parametrize("most", [0, 200])
def test_it_is_one_line_where_there_is_room(most: int) -> None:
    assert folded(SENTENCE, most) == SENTENCE


def test_a_word_that_is_to_be_copied_is_never_broken() -> None:
    word = "https://nuget.example.com:5555/" + "a-long-path/" * 9
    assert word in folded(f"It is at {word} now.", 40).splitlines()[1].split()


def test_a_pipe_gets_lines_as_they_are(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    say(SENTENCE)
    say(SENTENCE, err=True)
    assert capsys.readouterr() == (f"{SENTENCE}\n", f"{SENTENCE}\n")
    monkeypatch.setenv("COLUMNS", "60")
    say(SENTENCE, err=True)
    assert max(map(len, capsys.readouterr().err.splitlines())) <= 60


@pytest.mark.parametrize("encoding", ["utf-8:strict", "latin-1", "ascii"])
def test_what_an_encoding_does_not_have_is_printed_all_the_same(encoding: str, tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9 \xe2\x86\x92.toml")
    (tmp_path / name).write_text("")
    done = subprocess.run(
        [sys.executable, "-m", "nugetproxy", "check-config", tmp_path / name],
        env=clean_environ() | {"PYTHONIOENCODING": encoding, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        timeout=50,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.startswith(os.fsencode(tmp_path)) and b".toml is valid." in done.stdout


def test_json_is_json_in_every_encoding(capsys: pytest.CaptureFixture[str]) -> None:
    said = {"says": "\u2192 \U0001f600 \udce9"}
    as_json(said)
    out = capsys.readouterr().out
    assert out.isascii() and json.loads(out) == said


@pytest.mark.parametrize("words", [("ls",), ("keep",), ("unkeep",), ("claims",), ("explain",)])
def test_what_is_no_text_is_told_to_be_none(words: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "format").touch()
    done = CliRunner().invoke(app, [*words, os.fsdecode(b"caf\xe9"), "--cache-dir", str(tmp_path)])
    assert (done.exit_code in {1, 64}, done.stdout, "is not text in UTF-8" in done.stderr) == (True, "", True)


EVIL = "https://a.example/\x1b]0;title\x07\x9b2J\u202e"


def test_what_others_wrote_does_not_speak_to_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    say(f"advisory {EVIL}")
    table(("Package", "Found"), [("acme.a", EVIL)])
    out = capsys.readouterr().out
    assert out.replace("\n", "").isprintable()
    assert out.count("https://a.example/\\u001b]0;title\\u0007\\u009b2J\\u202e") == 2
