"""Bodies that are made to be slow to read hold nobody else up."""

from __future__ import annotations

import threading

import httpx

from tests.e2e.running import Gateway

CHAT = "/v1/chat/completions"
HEADERS = {"authorization": "Bearer sk-local", "content-type": "application/json"}


def test_a_body_of_a_million_unknown_fields_holds_nobody_up(gateway: Gateway) -> None:
    fields = ",".join(f'"temperat{i:06d}":1' for i in range(600_000))
    body = f'{{"model":"local/simulator-fast","messages":[{{"role":"user","content":"hi"}}],{fields}}}'.encode()
    ended: list[int] = []

    def post() -> None:
        ended.append(httpx.post(gateway.url + CHAT, content=body, headers=HEADERS, timeout=60).status_code)

    posters = [threading.Thread(target=post) for _ in range(3)]
    for poster in posters:
        poster.start()
    answers = []
    with httpx.Client(base_url=gateway.url, headers=HEADERS, timeout=20) as client:
        while any(poster.is_alive() for poster in posters):
            answers.append(client.get("/healthz").status_code)
    for poster in posters:
        poster.join()
    assert len(ended) == 3
    assert set(ended) <= {200, 400, 503}
    assert set(answers) == {200}
