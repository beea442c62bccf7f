"""Nginx is what we measure ourselves against: its proxy_cache, in the set-up that Debian ships."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from pathlib import Path

from tests.bench.servers import Origin, Server

# As in Debian's nginx.conf: sendfile, tcp_nopush, an access log that is written line by line, no open_file_cache.
# Ours: one worker, connections kept for as long as the load lasts, a lock so that a crowd is one download.
_CONFIG = """
{user}
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
daemon off;
events {{ worker_connections 1024; }}
http {{
  sendfile on;
  tcp_nopush on;
  types_hash_max_size 2048;
  default_type application/octet-stream;
  access_log {folder}/access.log;
  keepalive_requests 1000000000;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/temp;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  proxy_cache_path {folder}/cache levels=1:2 keys_zone=packages:10m max_size=50g inactive=7d use_temp_path=off;
  server {{
    listen 127.0.0.1:{port} backlog=2048;
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


def version() -> str | None:
    """The nginx that there is; None where there is none."""
    path = _path()
    if path is None:
        return None
    said = subprocess.run([path, "-v"], capture_output=True, text=True, timeout=10, check=True)
    return said.stderr.strip().partition("version: ")[2]


class Nginx(Server):
    """One nginx with a cache of its own."""

    name = "nginx"

    def __init__(self, origin: Origin, folder: Path) -> None:
        folder.mkdir()
        path = _path()
        assert path is not None
        config = folder / "nginx.conf"
        super().__init__([path, "-c", str(config), "-e", str(folder / "error.log")], folder / "output")
        self.port = _free_port()
        # Started by root it would become www-data, which may not enter our folder.
        user = "user root;" if os.geteuid() == 0 else ""
        config.write_text(_CONFIG.format(folder=folder, port=self.port, origin=origin.port, user=user))

    def ready(self) -> bool:
        """Whether it listens."""
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


def _path() -> str | None:
    return shutil.which("nginx", path=os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin")))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
