"""Origin is the upstream of both servers: a static V3 feed in a process of its own.

``python -m tests.bench.origin FOLDER`` serves the packages in FOLDER (flat container layout) on a free port.
"""

from __future__ import annotations

import gzip
import json
import threading
import time
from argparse import ArgumentParser
from collections import Counter
from collections.abc import Callable
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from random import Random
from typing import ClassVar

from tests.bench.material import PACED, PAGED, SMALL

FLAT = "/flat"
LIST = f"{FLAT}/{SMALL}/index.json"
REGISTRATION = f"/registration/{SMALL}/index.json"
PAGED_LIST = f"{FLAT}/{PAGED}/index.json"
PAGED_REGISTRATION = f"/registration/{PAGED}/index.json"
PAGE = f"/registration/{PAGED}/page/"
SEARCH = "/query"
COUNTS = "/counts"
"""How often each path was asked for, as JSON."""
STEPS = 50
LISTED = 60
"""Versions in the list: a package of ordinary age."""
PAGE_OF = 20
"""Of them in a page of its own."""
VERSIONS = [f"{number // 10}.{number % 10}.0" for number in range(10, 10 + LISTED)]


class Handler(BaseHTTPRequestHandler):
    """Answers GET with documents, counts or files."""

    protocol_version = "HTTP/1.1"
    timeout = 60
    counts: ClassVar[Counter[str]] = Counter()
    counting = threading.Lock()  # protects counts, changed by one thread for each connection

    def __init__(self, folder: Path, paced_seconds: float, *args: object) -> None:
        self._folder = folder
        self._paced_seconds = paced_seconds
        super().__init__(*args)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        """Answer."""
        with self.counting:
            self.counts[self.path] += 1
        documents: dict[str, Callable[[], object]] = {
            "/v3/index.json": self._index,
            LIST: self._list,
            REGISTRATION: self._registration,
            PAGED_LIST: self._list,
            PAGED_REGISTRATION: self._pages,
            SEARCH: self._hits,
            **{f"{PAGE}{number}.json": partial(self._page, number) for number in range(LISTED // PAGE_OF)},
            COUNTS: self.counts.copy,
        }
        file = self._folder / self.path.removeprefix(f"{FLAT}/")
        path = self.path.partition("?")[0]
        if path in documents:
            self._document(documents[path]())
        elif self.path.endswith((".nupkg", ".nuspec")) and file.is_file():
            self._file(file)
        else:
            self.send_error(404)

    def _index(self) -> dict[str, object]:
        root = f"http://{self.headers['Host']}"
        resources = [
            {"@id": f"{root}{FLAT}/", "@type": "PackageBaseAddress/3.0.0"},
            {"@id": f"{root}/registration/", "@type": "RegistrationsBaseUrl/3.6.0"},
            {"@id": f"{root}{SEARCH}", "@type": "SearchQueryService"},
        ]
        return {"version": "3.0.0", "resources": resources}

    def _registration(self) -> dict[str, object]:
        """Of the small package: about 11 kB with gzip."""
        index = f"http://{self.headers['Host']}{REGISTRATION}"
        leaves = [self._leaf(index, SMALL, version) for version in VERSIONS]
        page = {"@id": f"{index}#page", "count": len(leaves), "lower": VERSIONS[0], "upper": VERSIONS[-1]}
        return {"@id": index, "count": 1, "items": [page | {"parent": index, "items": leaves}]}

    def _pages(self) -> dict[str, object]:
        """An index whose pages are documents of their own."""
        pages = [self._page(number) for number in range(LISTED // PAGE_OF)]
        items = [{name: value for name, value in page.items() if name != "items"} for page in pages]
        return {"@id": f"http://{self.headers['Host']}{PAGED_REGISTRATION}", "count": len(items), "items": items}

    def _page(self, number: int) -> dict[str, object]:
        root, versions = f"http://{self.headers['Host']}", VERSIONS[number * PAGE_OF : (number + 1) * PAGE_OF]
        index = f"{root}{PAGED_REGISTRATION}"
        leaves = [self._leaf(index, PAGED, version) for version in versions]
        bounds = {"count": len(leaves), "lower": versions[0], "upper": versions[-1]}
        return {"@id": f"{root}{PAGE}{number}.json", "parent": index, **bounds, "items": leaves}

    def _hits(self) -> dict[str, object]:
        root = f"http://{self.headers['Host']}"
        hits = [
            {
                "id": id,
                "version": VERSIONS[-1],
                "registration": f"{root}/registration/{id}/index.json",
                "versions": [
                    {"version": version, "downloads": 1, "@id": f"{root}/registration/{id}/{version}.json"}
                    for version in VERSIONS
                ],
            }
            for id in (SMALL, PAGED)
        ]
        return {"totalHits": len(hits), "data": hits}

    def _leaf(self, index: str, id: str, version: str) -> dict[str, object]:
        content = f"http://{self.headers['Host']}{FLAT}/{id}/{version}/{id}.{version}.nupkg"
        leaf = f"{index.removesuffix('index.json')}{version}.json"
        text = Random(version).randbytes(60).hex()
        entry = {
            "@id": f"{leaf}#entry",
            "id": id,
            "version": version,
            "description": text,
            "packageContent": content,
            "published": "2020-01-01T00:00:00Z",
        }
        return {"@id": leaf, "catalogEntry": entry, "packageContent": content, "registration": index}

    def _list(self) -> dict[str, object]:
        return {"versions": VERSIONS}

    def _document(self, value: object) -> None:
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Vary", "Accept-Encoding")
        self.send_header("ETag", '"bench"')
        if "gzip" in self.headers.get("Accept-Encoding", ""):
            body = gzip.compress(body, 6, mtime=0)
            self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _file(self, file: Path) -> None:
        size = file.stat().st_size
        paced = file.name.startswith(PACED)
        self.send_response(200)
        self.send_header("Content-Type", "application/octet-stream")
        self.send_header("ETag", f'"{size:x}"')
        self.send_header("Last-Modified", "Mon, 01 Jan 2024 00:00:00 GMT")
        self.send_header("Content-Length", str(size))
        self.end_headers()
        began = time.monotonic()
        with file.open("rb") as stream:
            if not paced:
                self.connection.sendfile(stream)
                return
            for step in range(STEPS):
                at, stop = size * step // STEPS, size * (step + 1) // STEPS
                self.connection.sendfile(stream, at, stop - at)
                time.sleep(max(0.0, began + self._paced_seconds * (step + 1) / STEPS - time.monotonic()))

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class Server(ThreadingHTTPServer):
    """Without a word about clients that leave."""

    daemon_threads = True
    request_queue_size = 512

    def handle_error(self, *_: object) -> None:
        """The server under test will say what it misses."""


def main() -> None:
    """Serve until a signal ends the process."""
    parser = ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--paced-seconds", type=float, default=3.0, help="how long a paced package takes")
    arguments = parser.parse_args()
    with Server(("127.0.0.1", 0), partial(Handler, arguments.folder, arguments.paced_seconds)) as server:
        print(f"Listening on http://127.0.0.1:{server.server_address[1]}/v3/index.json", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main()
