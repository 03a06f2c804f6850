"""The soak's traffic: a mix of calls at a steady rate, each checked, and the provider that answers them."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType, TracebackType
from typing import Any

import aiohttp

from tests.e2e.calling import CHAT, KEY, question
from tests.fakes import chat
from tests.fakes.wire import Connection, Request, chunk, head, whole

WORD_S = 0.01
"""Between two words of a stream."""
_WORDS = tuple(chunk(chat.content(f"word{number} ")) for number in range(10))
_OPENING = head(200, "text/event-stream", chunked=True) + chunk(chat.opening())
_END = chunk(chat.terminal()) + chunk(chat.done()) + chunk(b"")
_WHOLE = whole(200, chat.answer_body())
_FAILURE = whole(500, {"error": {"message": "engine failure", "type": "server_error"}})


async def provide(connection: Connection, request: Request) -> None:
    """Answer as a provider: fail under /failing, else say ten words or all at once."""
    if request.target.startswith("/failing"):
        await connection.send(_FAILURE)
    elif request.json().get("stream"):
        await connection.send(_OPENING)
        for word in _WORDS:
            await connection.send(word)
            await asyncio.sleep(WORD_S)
        await connection.send(_END)
    else:
        await connection.send(_WHOLE)


class Traffic:
    """Calls to one gateway. `tally` counts outcomes; those that were not as they had to be begin with `BAD`."""

    def __init__(self, url: str) -> None:
        self.tally: Counter[str] = Counter()
        self._url = url
        self._rng = random.Random(5)
        self._calls: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Traffic:
        self._session = aiohttp.ClientSession(
            self._url, headers={"authorization": f"Bearer {KEY}"}, connector=aiohttp.TCPConnector(limit=0)
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._session.close()

    async def capacity(self, seconds: float) -> float:
        """Return how many calls of the mix a second the gateway serves, at 32 at once."""
        ends_at, started = time.monotonic() + seconds, self.tally.total()

        async def keep_calling() -> None:
            while time.monotonic() < ends_at:
                await self._call()

        await asyncio.gather(*(keep_calling() for _ in range(32)))
        return (self.tally.total() - started) / seconds

    async def run(self, seconds: float, rate: float) -> None:
        """Call at a steady rate, whatever the answers take, and wait for the last of them."""
        started = time.monotonic()
        for number in range(int(seconds * rate)):
            await asyncio.sleep(max(0.0, started + number / rate - time.monotonic()))
            call = asyncio.create_task(self._call())
            self._calls.add(call)
            call.add_done_callback(self._calls.discard)
        await asyncio.gather(*self._calls)

    async def _call(self) -> None:
        (name,) = self._rng.choices(tuple(_MIX), [share for share, _ in _MIX.values()])
        try:
            async with asyncio.timeout(30):
                is_good = await _MIX[name][1](self._session)
        except (aiohttp.ClientError, TimeoutError) as error:
            self.tally[f"BAD {name}: {type(error).__name__}"] += 1
        else:
            self.tally[name if is_good else f"BAD {name}"] += 1


Call = Callable[[aiohttp.ClientSession], Awaitable[bool]]


async def _whole(session: aiohttp.ClientSession) -> bool:
    return await _asks(session, question("good"), 200, chat.TEXT)


async def _stream(session: aiohttp.ClientSession) -> bool:
    return await _asks(session, question("good", stream=True), 200, "[DONE]")


async def _rescued(session: aiohttp.ClientSession) -> bool:
    return await _asks(session, question("rescued", stream=True), 200, "[DONE]")


async def _abandoned(session: aiohttp.ClientSession) -> bool:
    async with session.post(CHAT, json=question("good", stream=True)) as response:
        await response.content.readuntil(b"word3")
        return response.status == 200


async def _hopeless(session: aiohttp.ClientSession) -> bool:
    return await _asks(session, question("hopeless"), 502, "all_providers_failed")


async def _unknown_model(session: aiohttp.ClientSession) -> bool:
    return await _asks(session, question("nonesuch"), 404, "model_not_found")


async def _invalid(session: aiohttp.ClientSession) -> bool:
    return await _asks(session, question("good", temperature=9), 400, "out_of_range")


async def _asks(session: aiohttp.ClientSession, body: Mapping[str, Any], status: int, says: str) -> bool:
    async with session.post(CHAT, json=body) as response:
        return says in await response.text() and response.status == status


_MIX: Mapping[str, tuple[float, Call]] = MappingProxyType(
    {
        "whole": (0.45, _whole),
        "stream": (0.25, _stream),
        "abandoned stream": (0.15, _abandoned),
        "rescued by another provider": (0.05, _rescued),
        "all providers failed": (0.02, _hopeless),
        "unknown model": (0.04, _unknown_model),
        "invalid request": (0.04, _invalid),
    }
)
