"""The fake provider: nginx for whole answers, our event source for streams. Neither is what limits a measurement."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench import wire
from bench.processes import Process, free_port, start, wait_for_port

_NGINX = """\
worker_processes 1; daemon off; pid {folder}/nginx.pid; error_log {folder}/nginx-error.log;{user}
events {{ worker_connections 4096; }}
http {{
  access_log off; default_type application/json; tcp_nodelay on;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  keepalive_requests 1000000000; client_max_body_size 64m; client_body_buffer_size 8m;
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location / {{ return 200 '{models}'; }}
{locations}
  }}
}}
"""


@dataclass(frozen=True, slots=True)
class FakeProvider:
    """Where it is. Whole answers at `unary_url`, streams at `stream_url`; each takes every vendor's paths."""

    unary_url: str
    stream_url: str
    processes: Sequence[Process]

    def stop(self) -> None:
        """End it."""
        for process in self.processes:
            process.stop()


def start_fake_provider(folder: Path) -> FakeProvider:
    """Start both parts. Raises NotRun."""
    unary_port, stream_port = free_port(), free_port()
    locations = "\n".join(
        f"    location ~ {path}$ {{ return 200 '{json.dumps(answer)}'; }}"
        for path, answer in wire.UNARY_ANSWERS.items()
    )
    models = json.dumps({"object": "list", "data": [{"id": wire.UNARY_MODEL, "object": "model"}]})
    config = folder / "nginx.conf"
    folder.mkdir(parents=True, exist_ok=True)
    user = " user root;" if os.geteuid() == 0 else ""
    config.write_text(_NGINX.format(folder=folder, port=unary_port, locations=locations, models=models, user=user))
    nginx = start("nginx", ("nginx", "-c", str(config), "-p", str(folder)), folder)
    source = start("event-source", (sys.executable, "-m", "bench.event_source", str(stream_port)), folder)
    wait_for_port(nginx, unary_port)
    wait_for_port(source, stream_port)
    return FakeProvider(f"http://127.0.0.1:{unary_port}", f"http://127.0.0.1:{stream_port}", (nginx, source))
