"""Supervisor tells a service manager how the process is doing, by the protocol of sd_notify(3)."""

from __future__ import annotations

import socket
import time
from collections.abc import MutableMapping
from contextlib import suppress
from typing import Final

import structlog

from nugetproxy.clock import Clock

log = structlog.get_logger(__name__)

SOCKET: Final = "NOTIFY_SOCKET"
WATCHDOG: Final = ("WATCHDOG_USEC", "WATCHDOG_PID")


class Supervisor:
    """Who started us, where that is somebody who wants to know; else nobody is told anything."""

    def __init__(self, environ: MutableMapping[str, str], pid: int) -> None:
        """What is said to this process alone is taken out of ``environ``: its children must not answer."""
        self._address = environ.pop(SOCKET, "")
        span, of = (environ.pop(name, "") for name in WATCHDOG)
        self.beat = int(span) / 2e6 if span.isdigit() and of in {"", str(pid)} else 0.0
        """Seconds between two signs of life; 0 where nobody waits for them."""

    def ready(self, status: str) -> None:
        """Clients are served; also after a reload."""
        self._say(f"READY=1\nSTATUS={status}")

    def reloading(self) -> None:
        """Another configuration is about to be followed."""
        self._say(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """No new clients are served any more."""
        self._say("STOPPING=1\nSTATUS=ending what is under way")

    async def live(self, clock: Clock) -> None:
        """Give signs of life from the event loop: one that hangs is restarted. Runs until cancelled."""
        while self.beat:
            self._say("WATCHDOG=1")
            await clock.sleep(self.beat)

    def _say(self, text: str) -> None:
        if not self._address:
            return
        address = f"\0{self._address[1:]}" if self._address.startswith("@") else self._address
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as way:
            way.setblocking(False)
            way.connect(address)
            way.send(text.encode())
