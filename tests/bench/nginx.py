"""Nginx is what we measure ourselves against: its proxy_cache, in the set-up that Debian ships."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
from pathlib import Path

from tests.bench.servers import Server

# As in Debian's nginx.conf: sendfile, tcp_nopush, an access log that is written line by line, no open_file_cache.
# Ours: one worker, connections kept for as long as the load lasts, a lock so that a crowd is one download.
_MAIN = """
{user}
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
daemon off;
events {{ worker_connections 1024; }}
http {{
  sendfile on;
  tcp_nopush on;
  default_type application/octet-stream;
  keepalive_requests 1000000000;
"""
_CACHE = """  types_hash_max_size 2048;
  access_log {folder}/access.log;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/temp;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  proxy_cache_path {folder}/cache levels=1:2 keys_zone=packages:10m max_size=50g inactive=7d use_temp_path=off;
  server {{
    listen 127.0.0.1:{port}{tls} backlog=2048;
    {certificate}
    {rewriting}
    location / {{
      proxy_pass http://127.0.0.1:{origin};
      proxy_cache packages;
      proxy_cache_valid 200 7d;
      proxy_cache_lock on;
      proxy_cache_lock_timeout 60s;
      proxy_cache_lock_age 60s;
    }}
  }}
}}
"""


# As in Debian's nginx.conf, so that both speak TLS 1.3 with OpenSSL's first choice of a cipher; an nginx before 1.23.4
# speaks TLS 1.2 otherwise. Neither keeps a table of sessions. The load keeps its connections: handshakes do not count.
_TLS = """ssl_protocols TLSv1.2 TLSv1.3;
    ssl_prefer_server_ciphers on;
    ssl_certificate {};
    ssl_certificate_key {};"""


def version() -> str | None:
    """The nginx that there is; None where there is none."""
    path = _path()
    if path is None:
        return None
    said = subprocess.run([path, "-v"], capture_output=True, text=True, timeout=10, check=True)
    return said.stderr.strip().partition("version: ")[2]


_STATIC = """  types {{ application/json json; }}
  access_log off;
  gzip on;
  gzip_types application/json;
  server {{
    listen 127.0.0.1:{port} backlog=2048;
    root {root};
  }}
}}
"""


class _Nginx(Server):
    """One nginx, whose configuration file is written when it is made."""

    def __init__(self, folder: Path, template: str, **values: object) -> None:
        folder.mkdir()
        path = _path()
        assert path is not None
        config = folder / "nginx.conf"
        super().__init__([path, "-c", str(config), "-e", str(folder / "error.log")], folder / "output")
        self.port = free_port()
        # Started by root it would become www-data, which may not enter our folder.
        user = "user root;" if os.geteuid() == 0 else ""
        config.write_text((_MAIN + template).format(folder=folder, port=self.port, user=user, **values))

    def ready(self) -> bool:
        """Whether it listens."""
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


class Nginx(_Nginx):
    """A cache, as most people set one up; with the files of ``certificate`` and key it speaks TLS as ours does."""

    name = "nginx"

    def __init__(self, origin: Server, folder: Path, *, certificate: tuple[Path, Path] | None = None) -> None:
        lines = _TLS.format(*certificate) if certificate else ""
        tls = " ssl" if certificate else ""
        super().__init__(folder, _CACHE, origin=origin.port, tls=tls, certificate=lines, rewriting="")
        self.scheme = "https" if certificate else "http"


_REWRITING = """sub_filter_types application/json;
    sub_filter_once off;
    sub_filter {origin} http://$http_host;
    proxy_set_header Accept-Encoding "";"""


class Recipe(_Nginx):
    """A cache in front of a NuGet feed, whose addresses it replaces by its own."""

    name = "nginx"

    def __init__(self, origin: Server, folder: Path) -> None:
        rewriting = _REWRITING.format(origin=origin.root)
        super().__init__(folder, _CACHE, origin=origin.port, tls="", certificate="", rewriting=rewriting)


class Static(_Nginx):
    """An upstream that costs next to nothing: the files below ``root``, JSON compressed."""

    name = "static"

    def __init__(self, root: Path, folder: Path) -> None:
        super().__init__(folder, _STATIC, root=root)
        index = root / "v3" / "index.json"
        index.parent.mkdir(parents=True)
        resources = [{"@id": f"{self.root}/flat/", "@type": "PackageBaseAddress/3.0.0"}]
        index.write_text(json.dumps({"version": "3.0.0", "resources": resources}))


def _path() -> str | None:
    return shutil.which("nginx", path=os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin")))


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
