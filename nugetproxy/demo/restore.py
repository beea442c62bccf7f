"""A restore over HTTP: the requests that NuGet makes for a project whose packages it does not have."""

from __future__ import annotations

import hashlib
import io
import json
import threading
from collections.abc import Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from http.client import HTTPConnection, HTTPException
from typing import Any, Final
from urllib.parse import urlsplit

from nugetproxy.demo.processes import DemoFailed
from nugetproxy.nuget.identity import PackageIdentity
from nugetproxy.nuget.nuspec import inspect_package

THREADS: Final = 16
SECONDS: Final = 15.0
"""How long a single read may take."""


class Restore:
    """One restore of one package with all that it depends on; every body is verified. Blocks."""

    def __init__(self, url: str, digests: Mapping[str, str]) -> None:
        """``url`` of the feed, without ``/v3/index.json``; ``digests`` as in ``MadePackages``."""
        self._host = urlsplit(url).netloc
        self._digests = digests
        self._local = threading.local()

    def run(self, id: str) -> int:
        """Restore ``id`` 1.0.0; the number of packages. Raises DemoFailed where anything is not as it must be."""
        resources = json.loads(self._get("/v3/index.json"))["resources"]
        (base,) = {entry["@id"] for entry in resources if entry["@type"] == "PackageBaseAddress/3.0.0"}
        content = urlsplit(base).path
        known = {id.lower()}
        with ThreadPoolExecutor(THREADS) as pool:
            waiting: set[Future[list[str]]] = {pool.submit(self._package, content, id.lower())}
            while waiting:
                done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                needed = {need.lower() for future in done for need in future.result()} - known
                known |= needed
                waiting |= {pool.submit(self._package, content, need) for need in needed}
        return len(known)

    def _package(self, content: str, id: str) -> list[str]:
        """Ask for the versions, then for the package; the ids that it depends on."""
        versions = json.loads(self._get(f"{content}{id}/index.json"))["versions"]
        if "1.0.0" not in versions:
            raise DemoFailed(f"The list of {id} lacks its version.")
        name = f"{id}.1.0.0.nupkg"
        body = self._get(f"{content}{id}/1.0.0/{name}")
        if hashlib.sha256(body).hexdigest() != self._digests[name]:
            raise DemoFailed(f"{name} came with other bytes.")
        nuspec = inspect_package(io.BytesIO(body), PackageIdentity(id, "1.0.0"))
        return [need.id for group in nuspec.dependency_groups for need in group.dependencies]

    def _get(self, path: str) -> bytes:
        connection: Any = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = HTTPConnection(self._host, timeout=SECONDS)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            body: bytes = response.read()
        except (OSError, HTTPException) as error:
            raise DemoFailed(f"GET {path} failed: {error!r}") from error
        if response.status != 200:
            raise DemoFailed(f"GET {path} was answered {response.status}: {body[:200].decode(errors='replace')}")
        return body
