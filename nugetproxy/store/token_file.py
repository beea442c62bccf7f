"""The token file keeps tokens that several processes on one machine share."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from nugetproxy.errors import ProxyError
from nugetproxy.store.ledger.records import Token

FORM: Final = 1
LARGEST: Final = 4 * 2**20
GONE: Final = "it is gone, or empty; the tokens of before stay good until there is one, or a restart"
TRIES: Final = 200
PAUSE: Final = 0.02
"""Seconds between two tries to lock it; whoever has it needs a few milliseconds."""


class TokenFileUnusable(ProxyError):
    """The file cannot be read or written."""

    def __init__(self, path: str, why: str) -> None:
        super().__init__(path, why)
        self.path = path
        self.why = why

    def __str__(self) -> str:
        return f"The file of tokens {self.path} cannot be used: {self.why}. Correct it, or set access.tokens_file."


class TokenFile:
    """JSON, replaced as a whole by whoever changes it; a file that was never there, or was empty, holds no token."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._was_there = False
        """Whether anything has been read from it: what then goes was revoked by nobody."""

    async def tokens(self) -> tuple[Token, ...]:
        """All of them, by name; raises TokenFileUnusable."""
        return await asyncio.to_thread(self._tokens)

    async def put_token(self, token: Token) -> None:
        """Add one, or replace the one of that name; raises TokenFileUnusable."""
        await asyncio.to_thread(self._change, lambda all: all.__setitem__(token.name, token))

    async def remove_token(self, name: str) -> bool:
        """Remove one; False if there was none of that name. Raises TokenFileUnusable."""
        return await asyncio.to_thread(self._change, lambda all: all.pop(name, None)) is not None

    def _tokens(self) -> tuple[Token, ...]:
        text = b""
        try:
            with contextlib.suppress(FileNotFoundError), self.path.open("rb") as file:
                text = file.read(LARGEST)
            if not text and self._was_there:
                raise TokenFileUnusable(str(self.path), GONE)
            written = json.loads(text)["tokens"] if text else []
            found = tuple(sorted(map(_token, written), key=lambda token: token.name))
        except OSError as error:
            raise TokenFileUnusable(str(self.path), error.strerror or str(error)) from error
        except (ValueError, TypeError, KeyError) as error:
            raise TokenFileUnusable(str(self.path), "it is not what the proxy writes there") from error
        self._was_there = self._was_there or bool(text)
        return found

    def _change(self, change: Callable[[dict[str, Token]], Any]) -> Any:
        try:
            with self._locked():
                all = {token.name: token for token in self._tokens()}
                changed = change(all)
                self._write(list(all.values()))
                return changed
        except OSError as error:
            raise TokenFileUnusable(str(self.path), error.strerror or str(error)) from error

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Protects what is read, changed and written from other processes that do the same."""
        fd = os.open(f"{self.path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            for _ in range(TRIES):
                with contextlib.suppress(BlockingIOError):
                    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                time.sleep(PAUSE)
            else:
                raise TokenFileUnusable(str(self.path), "another process holds its lock")
            yield
        finally:
            os.close(fd)

    def _write(self, tokens: list[Token]) -> None:
        rows = [
            {
                "name": token.name,
                "sha256": token.hash,
                "scopes": token.scopes,
                "feeds": token.feeds,
                "expires": token.expires,
                "created": token.created,
            }
            for token in tokens
        ]
        scratch = self.path.with_name(f"{self.path.name}.new")
        scratch.unlink(missing_ok=True)
        fd = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        with os.fdopen(fd, "w", encoding="utf-8") as file:
            json.dump({"form": FORM, "tokens": rows}, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        scratch.replace(self.path)
        folder = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _token(row: dict[str, Any]) -> Token:
    digest = row["sha256"]
    if not isinstance(digest, str) or len(bytes.fromhex(digest)) != 32:
        raise ValueError("not a digest")
    return Token(
        name=str(row["name"]),
        hash=digest.lower(),
        scopes=_texts(row["scopes"]),
        feeds=_texts(row.get("feeds", [])),
        expires=None if row.get("expires") is None else float(row["expires"]),
        created=float(row.get("created", 0.0)),
    )


def _texts(value: Any) -> tuple[str, ...]:
    """Of a list of texts: a text alone would be taken for its letters, so for a token of no feed."""
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise TypeError("not a list of texts")
    return tuple(value)
