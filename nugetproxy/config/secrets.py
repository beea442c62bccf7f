"""Secret is a reference to a value that no file of ours may contain."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from msgspec import Struct

from nugetproxy.config.places import parse_path

_SENSITIVE = re.compile(r"auth|token|key|secret|password|passwd|credential|cookie", re.IGNORECASE)
_MAX_SECRET = 64 * 1024

HOW = 'write "env:NAME" (an environment variable) or "file:PATH" (a file) instead'


class Secret(Struct, frozen=True):
    """Where a secret is kept: ``env:NAME`` or ``file:PATH``; the value itself is read on demand, never held."""

    reference: str

    @classmethod
    def parse(cls, text: str) -> Secret:
        """Read a reference; raises ValueError, without repeating the text, for anything else."""
        source, _, place = text.partition(":")
        if source not in ("env", "file") or not place:
            raise ValueError(f"secrets are not written into the configuration; {HOW}")
        if source == "file":
            parse_path(place)
        return cls(text)

    @property
    def file(self) -> Path | None:
        """The file that holds it; None where that is no file."""
        source, _, place = self.reference.partition(":")
        return Path(place).expanduser() if source == "file" else None

    def reveal(self, environ: Mapping[str, str] = os.environ) -> str:
        """The secret itself; raises ValueError, naming the place, when there is none.

        One line break at the end of a file is not part of the secret.
        """
        source, _, place = self.reference.partition(":")
        value = environ.get(place, "") if source == "env" else _read(place)
        if not value:
            what = f"the environment variable {place}" if source == "env" else f"the file {place}"
            raise ValueError(f"{what} is not set or empty")
        if not value.isprintable():
            raise ValueError(f"the secret in {self.reference} holds control characters or line breaks")
        return value


def _read(place: str) -> str:
    try:
        with Path(place).expanduser().open("rb") as file:
            raw = file.read(_MAX_SECRET)
        return raw.decode().removesuffix("\n").removesuffix("\r")
    except OSError as error:
        raise ValueError(f"the file {place} cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise ValueError(f"the file {place} is not text in UTF-8") from None


def parse_header_value(name: str, value: str) -> str | Secret:
    """A header's value: a reference, or plain text where the header's name does not sound like a credential."""
    if value.startswith(("env:", "file:")):
        return Secret.parse(value)
    if _SENSITIVE.search(name):
        raise ValueError(f"a literal value is not allowed in a header that looks like a credential; {HOW}")
    if not value.isprintable():
        raise ValueError("the value holds control characters or line breaks")
    return value
