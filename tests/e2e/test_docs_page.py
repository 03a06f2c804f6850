"""The page at /docs, through the gateway, in headless Chromium."""

from __future__ import annotations

import asyncio
import itertools
import json
import shutil
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import httpx
import pytest

from tests.e2e.running import Gateway

_CHROMIUM = shutil.which("chromium")
_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--remote-debugging-port=0",
)
_START_S = 30.0

pytestmark = pytest.mark.skipif(_CHROMIUM is None, reason="chromium is not on PATH")


class Page:
    """A tab, spoken to over Chromium's debugging protocol. `events` are all that it reported so far."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.session: str | None = None
        self.events: list[Mapping[str, Any]] = []
        self._socket = socket
        self._numbers = itertools.count(1)

    async def call(self, method: str, **params: Any) -> Any:
        """Send a command and return its result."""
        number = next(self._numbers)
        command = {"id": number, "method": method, "params": params}
        await self._socket.send_json(command | ({"sessionId": self.session} if self.session else {}))
        while True:
            message = await self._receive()
            if message.get("id") == number:
                assert "error" not in message, message
                return message["result"]

    async def seen(self, method: str) -> None:
        """Wait until an event was reported."""
        while not any(event["method"] == method for event in self.events):
            await self._receive()

    async def value(self, expression: str) -> Any:
        """Return what a script's expression is."""
        result = await self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    async def _receive(self) -> Any:
        message = await self._socket.receive_json(timeout=_START_S)
        if "method" in message:
            self.events.append(message)
        return message


@asynccontextmanager
async def _tab(profile: Path) -> AsyncIterator[Page]:
    assert _CHROMIUM is not None
    browser = await asyncio.create_subprocess_exec(
        _CHROMIUM,
        *_FLAGS,
        f"--user-data-dir={profile}",
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        address = await asyncio.wait_for(_address(profile / "DevToolsActivePort"), _START_S)
        async with aiohttp.ClientSession() as client, client.ws_connect(address, max_msg_size=0) as socket:
            page = Page(socket)
            target = await page.call("Target.createTarget", url="about:blank")
            attached = await page.call("Target.attachToTarget", targetId=target["targetId"], flatten=True)
            page.session = attached["sessionId"]
            for domain in ("Page", "Network", "Log", "Runtime"):
                await page.call(f"{domain}.enable")
            yield page
    finally:
        browser.terminate()
        await asyncio.wait_for(browser.wait(), _START_S)


async def _address(port_file: Path) -> str:
    while True:
        words = _words(port_file)
        if len(words) == 2:
            return f"ws://127.0.0.1:{words[0]}{words[1]}"
        await asyncio.sleep(0.05)


def _words(file: Path) -> list[str]:
    return file.read_text().split() if file.exists() else []


async def test_the_page_shows_every_operation_and_needs_nothing_else(gateway: Gateway, tmp_path: Path) -> None:
    async with httpx.AsyncClient() as client:
        document = (await client.get(f"{gateway.url}/openapi.json")).json()
    async with _tab(tmp_path) as page:
        await page.call("Page.navigate", url=f"{gateway.url}/docs")
        await page.seen("Page.loadEventFired")

        shown = await page.value("[...document.querySelectorAll('.operation')].map(each => each.id)")
        known = [each["operationId"] for verbs in document["paths"].values() for each in verbs.values()]
        assert sorted(shown) == sorted(known)

        examples = await page.value("document.querySelectorAll('.example').length")
        buttons = await page.value("document.querySelectorAll('.example button').length")
        assert examples == buttons > 0
        codes = await page.value("document.querySelector('#errors').nextElementSibling.textContent")
        assert "all_providers_failed" in codes

        first = json.loads(await page.value("document.querySelector('.operation details .example code').textContent"))
        assert first["tools"] == [{"type": "gateway:datetime", "parameters": {"timezone": "Europe/London"}}]

        assert _addresses(page) - {"data:,"} == {f"{gateway.url}/docs"}
        assert [
            event for event in page.events if event["method"] in ("Log.entryAdded", "Runtime.exceptionThrown")
        ] == []


async def test_the_page_fits_a_phone_and_follows_the_colour_scheme(gateway: Gateway, tmp_path: Path) -> None:
    async with _tab(tmp_path) as page:
        await page.call("Emulation.setDeviceMetricsOverride", width=390, height=844, deviceScaleFactor=1, mobile=True)
        await page.call("Page.navigate", url=f"{gateway.url}/docs")
        await page.seen("Page.loadEventFired")

        await page.value("document.querySelectorAll('details').forEach(each => { each.open = true; })")
        assert await page.value("document.documentElement.scrollWidth") == 390

        colours = []
        for scheme in ("light", "dark"):
            feature = {"name": "prefers-color-scheme", "value": scheme}
            await page.call("Emulation.setEmulatedMedia", features=[feature])
            colours.append(await page.value("getComputedStyle(document.body).backgroundColor"))
        assert colours == ["rgb(255, 255, 255)", "rgb(17, 21, 28)"]


def _addresses(page: Page) -> set[str]:
    return {
        event["params"]["request"]["url"] for event in page.events if event["method"] == "Network.requestWillBeSent"
    }
