"""The fake provider: nginx for whole answers, our event source for streams. Neither is what limits a measurement.

Both can be reached with TLS, too, which nginx speaks for the event source.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import trustme

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
  ssl_certificate {folder}/provider.pem; ssl_certificate_key {folder}/provider.pem; ssl_buffer_size 4k;
  upstream source {{ server 127.0.0.1:{stream_port}; keepalive 512; }}
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    listen 127.0.0.1:{tls_port} ssl backlog=4096;
    location / {{ return 200 '{models}'; }}
{locations}
  }}
  server {{
    listen 127.0.0.1:{tls_stream_port} ssl backlog=4096;
    location / {{
      proxy_pass http://source; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off;
    }}
  }}
}}
"""


@dataclass(frozen=True, slots=True)
class FakeProvider:
    """Where it is. Whole answers at `unary_url`, streams at `stream_url`; each takes every vendor's paths.

    The same with TLS at `tls_unary_url` and `tls_stream_url`; `authority` vouches for it.
    """

    unary_url: str
    stream_url: str
    tls_unary_url: str
    tls_stream_url: str
    authority: Path
    processes: Sequence[Process]

    def stop(self) -> None:
        """End it."""
        for process in self.processes:
            process.stop()


def start_fake_provider(folder: Path) -> FakeProvider:
    """Start both parts. Raises NotRun."""
    port, stream_port, tls_port, tls_stream_port = (free_port() for _ in range(4))
    locations = "\n".join(
        f"    location ~ {path}$ {{ return 200 '{json.dumps(answer)}'; }}"
        for path, answer in wire.UNARY_ANSWERS.items()
    )
    folder.mkdir(parents=True, exist_ok=True)
    authority = _certify(folder)
    config = folder / "nginx.conf"
    config.write_text(
        _NGINX.format(
            folder=folder,
            port=port,
            stream_port=stream_port,
            tls_port=tls_port,
            tls_stream_port=tls_stream_port,
            locations=locations,
            models=json.dumps({"object": "list", "data": [{"id": wire.UNARY_MODEL, "object": "model"}]}),
            user=" user root;" if os.geteuid() == 0 else "",
        )
    )
    nginx = start("nginx", ("nginx", "-c", str(config), "-p", str(folder)), folder)
    source = start("event-source", (sys.executable, "-m", "bench.event_source", str(stream_port)), folder)
    wait_for_port(nginx, port)
    wait_for_port(source, stream_port)
    return FakeProvider(
        unary_url=f"http://127.0.0.1:{port}",
        stream_url=f"http://127.0.0.1:{stream_port}",
        tls_unary_url=f"https://127.0.0.1:{tls_port}",
        tls_stream_url=f"https://127.0.0.1:{tls_stream_port}",
        authority=authority,
        processes=(nginx, source),
    )


def _certify(folder: Path) -> Path:
    """Write the provider's key and certificate, and return the file of the authority that vouches for it."""
    authority = trustme.CA()
    file = folder / "authority.pem"
    authority.cert_pem.write_to_path(str(file))
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(folder / "provider.pem"))
    return file
