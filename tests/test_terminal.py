"""Sentences of commands are read in a terminal of any width."""

from __future__ import annotations

import pytest

from nugetproxy.cli.terminal import folded, say

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
