"""The play of the demo: what happens in which order, with everything cleaned up in the end."""

from __future__ import annotations

import asyncio
import shutil
import signal
import tempfile
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

from rich.console import Console

from nugetproxy.demo.dotnet import Dotnet, find_dotnet
from nugetproxy.demo.packages import MadePackages
from nugetproxy.demo.processes import DemoFailed, Server
from nugetproxy.demo.report import COLD, OUTAGE, WARM, show
from nugetproxy.demo.restore import Restore
from nugetproxy.demo.rounds import Round, measured
from nugetproxy.nuget.client_config import NUGET_CONFIG, source_line

BY_HTTP, BY_DOTNET = "HTTP", "dotnet"
APPLICATIONS: Final = {BY_HTTP: "Demo.Shop", BY_DOTNET: "Demo.Bank"}
"""Each client restores another application, so that each has a cold round."""
SETTINGS: Final = """\
[cache]
directory = "{cache}"
[upstreams.demo]
url = "{url}/v3/index.json"
[policy.index]
fresh = "{fresh}"
refresh = "0"
[policy.versions]
fresh = "{fresh}"
refresh = "0"
"""


def run(console: Console, *, keep: bool) -> int:
    """Play the demo; the exit code. ``keep`` goes on serving until Ctrl-C."""
    try:
        return asyncio.run(_play(console, keep=keep))
    except DemoFailed as failure:
        console.print(f"The demo failed: {failure}", style="red", markup=False)
        return 1
    except (KeyboardInterrupt, asyncio.CancelledError):
        console.print("Stopped; everything is cleaned up.")
        return 0 if keep else 130


async def _play(console: Console, *, keep: bool) -> int:
    """Everything that is begun here ends with the stack, however it ends."""
    task = asyncio.current_task()
    if task is not None:
        for number in (signal.SIGTERM, signal.SIGHUP):
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    async with AsyncExitStack() as stack:
        console.print("An upstream, its proxy, and clients: all on this machine, all removed in the end.\n")
        work = Path(tempfile.mkdtemp(prefix="nugetproxy-demo-"))
        stack.push_async_callback(asyncio.to_thread, shutil.rmtree, work, ignore_errors=True)
        stage = _Stage(console, work)
        await stage.make_packages()
        await stage.start(stack)
        await stage.play()
        console.print()
        show(console, stage.rounds)
        if stage.remark:
            console.print(stage.remark, style="yellow", markup=False)
        if keep:
            await stage.keep()
    return 0


class _Stage:
    """The upstream, the proxy, and what the clients have done so far."""

    def __init__(self, console: Console, work: Path) -> None:
        self.rounds: list[Round] = []
        self.remark = ""
        """What else should be known of the rounds."""
        self._began = time.perf_counter()
        self._console = console
        self._work = work
        self._shelf = MadePackages(work / "feed")
        self._settings = work / "nugetproxy.toml"
        upstream = ("--upstream", str(self._shelf.folder), "--cache-dir", str(work / "upstream"))
        self._upstream = Server("upstream", work / "upstream.log", *upstream)
        self._proxy = Server("proxy", work / "proxy.log", "--config", str(self._settings))
        self._dotnet: Dotnet | None = None

    async def make_packages(self) -> None:
        """Fill the folder that the upstream publishes."""
        self._shelf.folder.mkdir()
        for application in APPLICATIONS.values():
            await asyncio.to_thread(self._shelf.fill, application)
        self._tell(f"Made a folder of {len(self._shelf.digests)} packages.")

    async def start(self, stack: AsyncExitStack) -> None:
        """Start both servers; ``stack`` ends them."""
        await stack.enter_async_context(self._upstream)
        self._tell(f"Started an upstream that publishes it: {self._upstream.url} (process {self._upstream.pid}).")
        self._set(fresh="1h")
        await stack.enter_async_context(self._proxy)
        self._tell(f"Started the proxy of that upstream: {self._proxy.url} (process {self._proxy.pid}).")
        program = find_dotnet()
        if program is not None:
            self._dotnet = Dotnet(program, self._work / "dotnet", self._proxy.url, APPLICATIONS[BY_DOTNET])
        else:
            self._tell("There is no dotnet on the PATH; an HTTP client that asks as NuGet does plays alone.")

    def _set(self, *, fresh: str) -> None:
        cache = self._work / "cache"
        self._settings.write_text(SETTINGS.format(cache=cache, url=self._upstream.url, fresh=fresh))

    async def play(self) -> None:
        """All rounds of all clients."""
        await self._restore(COLD)
        await self._restore(WARM)
        gone = self._upstream.pid
        await self._upstream.kill()
        self._tell(f"Killed the upstream (process {gone}).")
        await self._proxy.stop()
        self._set(fresh="0")
        await self._proxy.start()
        self._tell("Restarted the proxy, with all that it knows of versions past its time.")
        await self._restore(OUTAGE)
        self.rounds.sort(key=lambda one: list(APPLICATIONS).index(one.client))

    async def _restore(self, name: str) -> None:
        with self._console.status(f"Restoring ({name}) ..."):
            application = APPLICATIONS[BY_HTTP]
            client = Restore(self._proxy.url, self._shelf.digests)
            self._note(
                await measured(name, BY_HTTP, self._proxy.url, lambda: asyncio.to_thread(client.run, application))
            )
            if self._dotnet is not None:
                await self._restore_by_dotnet(name, self._dotnet)

    async def _restore_by_dotnet(self, name: str, dotnet: Dotnet) -> None:
        """An SDK that cannot restore at all (it may lack what every project needs) does not spoil the play."""
        try:
            self._note(await measured(name, BY_DOTNET, self._proxy.url, dotnet.restore))
        except DemoFailed as failure:
            if name != COLD:
                raise
            self._dotnet = None
            self.remark = f"The dotnet on the PATH took no part: {failure}"

    def _note(self, one: Round) -> None:
        self.rounds.append(one)
        self._tell(f"Restored by {one.client}, {one.name}: {one.packages} packages in {one.seconds:.2f} s.")

    async def keep(self) -> None:
        """Serve until Ctrl-C, the upstream too."""
        await self._upstream.start()
        source = "    " + source_line("demo", f"{self._proxy.url}/v3/index.json")
        self._console.print("\nThe proxy goes on, and the upstream is back. Put this into nuget.config and play:\n")
        self._console.print(NUGET_CONFIG.format(sources=source), markup=False, soft_wrap=True)
        self._console.print(
            f"\n  dotnet add package Demo.Shop       curl '{self._proxy.url}/v3/query?q=demo'"
            f"\n  kill {self._upstream.pid}      (the upstream)"
            "\n\nCtrl-C ends both and removes everything.",
            markup=False,
            soft_wrap=True,
        )
        await asyncio.Event().wait()

    def _tell(self, text: str) -> None:
        self._console.print(f"[dim]{time.perf_counter() - self._began:5.1f} s[/dim]  {text}", highlight=False)
