"""One request on its way: checked, limited, routed, asked turn by turn, and told how it went."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from datetime import UTC, datetime

from gateway.v1.chat_request_pb2 import CreateChatCompletionRequest
from gateway.v1.chat_response_pb2 import (
    AssistantMessage,
    ChatCompletion,
    ChatCompletionChunk,
    Choice,
    Delta,
    Meta,
    Usage,
)

from service.abreast import abreast
from service.chat.attempts import Attempts, broken, masked
from service.chat.call import Call
from service.chat.deps import Deps
from service.chat.models import check_model
from service.chat.normalise import Normalised, normalise
from service.chat.record import Record
from service.chat.turn_stream import Runs, Take
from service.chat.turns import Split, ToolLoop, TurnFilter, join_turns, number_anew
from service.errors import FailureKind, GatewayError, ProviderFailure
from service.limits import Grant
from service.providers.dialect import Run
from service.routing import Surroundings, Target, plan

_MAY_HAVE_USED = frozenset(
    ("ok", "cancelled", FailureKind.TIMEOUT, FailureKind.CUT, FailureKind.MALFORMED, FailureKind.EMPTY)
)
"""Outcomes of attempts that may have used tokens, though the provider has not said so."""

_MOST_PAIRS, _MOST_NAME, _MOST_VALUE = 16, 64, 512
"""Of a caller's labels in the log: what OpenAI takes."""


class Job:
    """One request on its way: its attempts, its tool loop and its record."""

    def __init__(self, deps: Deps, call: Call, normalised: Normalised, grant: Grant) -> None:
        options = normalised.options
        self._call = call
        self._grant = grant
        self._masker = deps.masker
        self._request = normalised.request
        self._model = normalised.request.model
        self._options = options
        self._record = Record(options, call.started, deps.masker)
        self._loop = ToolLoop(normalised.tools, options.max_tool_calls, lambda: datetime.now(UTC))
        surroundings = Surroundings(
            config=deps.config,
            dialects=deps.dialects,
            health=deps.health,
            key=call.key,
            sticky_key=options.sticky_key,
            now=call.started,
            rng=deps.rng,
        )
        self._native_id = ""
        self._tier = ""
        self._turn_usage: Usage | None = None
        self._beside_usage: ChatCompletionChunk | None = None
        """What the provider's chunk of usage said beside it: it belongs into ours, where that is asked for."""
        self._settled = 0
        """How many attempts there were when usage was last told: what they used is known."""
        self._broke_off = False
        self._plan = plan(self._request, normalised.contents, self._model, surroundings)
        if "provider" in normalised.contents.given:
            self._request.ClearField("provider")
        if self._record.traces:
            self._record.step(
                "route",
                {"order": [target.endpoint.provider for target in self._plan.targets]},
                {"left": {left.endpoint.provider: left.reason for left in self._plan.left}},
            )
        self._attempts = Attempts(deps, self._plan, call, self._record, normalised.as_written)

    @classmethod
    async def begin(cls, deps: Deps, request: CreateChatCompletionRequest, call: Call) -> Job:
        """Check, limit and route a request, in this order.

        Raises:
            GatewayError: it is refused.
        """
        call.facts["model"] = request.model[:200]
        call.facts["stream"] = request.stream
        _label(call.facts, request)
        if len(request.messages) > deps.config.server.max_messages:
            limit = deps.config.server.max_messages
            raise GatewayError("out_of_range", f"messages has more than {limit} items", param="messages")
        normalised = normalise(request, deps.tools)
        check_model(request.model, deps.config, call.key)
        # Not between the plan and the attempt: of the calls that plan together one would probe who was down, not all.
        await abreast()
        grant = await deps.limiter.acquire(call.key, normalised.contents.tokens(request.max_completion_tokens))
        if grant.headers:
            call.headers.update(grant.headers)
        try:
            return cls(deps, call, normalised, grant)
        except BaseException:
            await grant.release(0)
            raise

    async def complete(self) -> ChatCompletion:
        """Ask for whole answers until the last turn."""
        earlier: list[Choice] = []
        while True:
            target, completion = await self._attempts.complete(self._request)
            self._served(target, completion.usage if completion.HasField("usage") else None)
            if not self._loop.active:
                break
            choice = completion.choices[0]
            split = self._loop.split(choice.message)
            if not self._loop.goes_on(split, choice.finish_reason):
                _last_turn(choice, split, self._loop.final_reason(split, choice.finish_reason))
                join_turns(choice, earlier)
                break
            self._follow_up(choice.message, split)
            earlier.append(choice)
        return self._finished(target, completion)

    async def stream(self, take: Take) -> AsyncGenerator[Runs, None]:
        """Yield lists of runs of chunks over all turns, then the last chunk with what was asked of the gateway.

        `take` is offered the texts of a stream that only passes through.
        """
        through = TurnFilter(self._loop)
        # What is refused comes once more the other way, and would be kept for `debug` twice.
        passes_through = not (self._loop.active or self._options.upstream_response)
        while True:
            target, turn = await self._attempts.open(self._request)
            self._native_id, self._tier, self._turn_usage, self._beside_usage = "", "", None, None
            if passes_through:
                turn.stream.offer_to(take)
            try:
                async for piece in turn.stream:
                    if self._loop.active:
                        piece = [Run(chunk, []) for run in piece for chunk in run.chunks()]
                    runs = [run for run in piece if run.told or self._passes(run.chunk, through)]
                    if runs:
                        self._stamp(runs, target)
                        yield runs
                usage = self._turn_usage
                turn.succeeded(usage.completion_tokens if usage is not None else 0)
            except ProviderFailure as failure:
                turn.failed(failure)
                self._attempts.note(failure)
                self._broke_off = True
                raise broken(target, masked(failure, self._masker)) from failure
            finally:
                await turn.aclose()
            self._served(target, usage)
            if not self._loop.active:
                break
            message = through.message()
            split = self._loop.split(message)
            if not self._loop.goes_on(split, through.finish_reason):
                end = ChatCompletionChunk(native_response_id=self._native_id or None)
                choice = end.choices.add(delta=Delta(extra=through.extra(message)), extra=through.choice_extra)
                if self._tier:
                    end.service_tier = self._tier
                choice.finish_reason = self._loop.final_reason(split, through.finish_reason)
                yield self._stamp([Run(end, [])], target)
                break
            self._follow_up(message, split)
            through.next_turn(message)
        last = self._last_chunk(target)
        if last is not None:
            if self._native_id:
                last.native_response_id = self._native_id
            yield self._stamp([Run(last, [])], target)

    async def end(self) -> None:
        """Give back what the request held, and say what is to be logged. Safe to call once, in any case."""
        facts, usage, attempts = self._call.facts, self._record.usage, self._record.attempts
        facts["attempts"] = len(attempts)
        if attempts:
            facts.update(provider=attempts[-1].provider, upstream_outcome=attempts[-1].outcome)
        tokens = usage.total_tokens
        if tokens:
            facts.update(prompt_tokens=usage.prompt_tokens, completion_tokens=usage.completion_tokens)
        # What is not known is at least the estimate; what the provider refused, or never got, is nothing.
        rest = attempts[self._settled :]
        unknown = self._broke_off or any(attempt.outcome in _MAY_HAVE_USED for attempt in rest)
        await self._grant.release(tokens, at_least_estimate=unknown)

    def _served(self, target: Target, usage: Usage | None) -> None:
        """Note a turn that went well."""
        self._record.served(target.endpoint, usage)
        if usage is not None:
            self._settled = len(self._record.attempts)

    def _follow_up(self, message: AssistantMessage, split: Split) -> None:
        for arguments, result in self._loop.follow_up(self._request, message, split.server):
            self._record.step("tool", {"calls": len(split.server)}, {"arguments": arguments, "result": result})

    def _passes(self, chunk: ChatCompletionChunk, through: TurnFilter) -> bool:
        """Take a chunk's usage out of it and see to its native id; say whether anything for the client is left."""
        if chunk.HasField("native_response_id"):
            self._native_id = chunk.native_response_id
        elif self._native_id:
            chunk.native_response_id = self._native_id
        if chunk.HasField("service_tier"):
            self._tier = chunk.service_tier
        if chunk.HasField("usage"):
            self._turn_usage = Usage()
            self._turn_usage.CopyFrom(chunk.usage)
            chunk.ClearField("usage")
            if not chunk.choices:
                if self._options.stream_usage:
                    self._beside_usage = chunk
                return chunk.HasField("moderation") and not self._options.stream_usage
        left = through.through(chunk) if self._loop.active else bool(chunk.choices)
        return left or bool(chunk.extra) or chunk.HasField("moderation")

    def _stamp(self, runs: Runs, target: Target) -> Runs:
        """Say in chunks what is the gateway's to say, and return them."""
        call, model, provider = self._call, self._model, target.endpoint.provider
        for chunk, _, told in runs:
            if told:
                continue
            chunk.id = call.generation_id
            chunk.object = "chat.completion.chunk"
            chunk.created = call.created
            chunk.model = model
            chunk.provider = provider
        return runs

    def _last_chunk(self, target: Target) -> ChatCompletionChunk | None:
        """Return the chunk that says what was asked of the gateway, or None when nothing was."""
        self._loop.report(self._record.usage)
        last = ChatCompletionChunk(meta=self._meta(target), debug=self._record.debug(streamed=True))
        if self._options.stream_usage:
            usage = self._record.final_usage()
            if usage is not None:
                if self._beside_usage is not None:
                    last.MergeFrom(self._beside_usage)
                last.usage.CopyFrom(usage)
        return last if last.ListFields() else None

    def _finished(self, target: Target, completion: ChatCompletion) -> ChatCompletion:
        """Fill in what is the gateway's to say."""
        self._loop.report(self._record.usage)
        completion.id = self._call.generation_id
        completion.object = "chat.completion"
        completion.created = self._call.created
        completion.model = self._model
        completion.provider = target.endpoint.provider
        usage = self._record.final_usage()
        if usage is not None:
            completion.usage.CopyFrom(usage)
        meta, debug = self._meta(target), self._record.debug(streamed=False)
        if meta is not None:
            completion.meta.CopyFrom(meta)
        if debug is not None:
            completion.debug.CopyFrom(debug)
        return completion

    def _meta(self, target: Target) -> Meta | None:
        if not self._options.meta:
            return None
        candidates = self._plan.candidates(target.endpoint)
        return self._record.meta(target.endpoint, candidates, streamed=self._request.stream)


def _label(facts: dict[str, object], request: CreateChatCompletionRequest) -> None:
    """Add what the caller labelled the request with to what the access log says."""
    if request.session_id:
        facts["session_id"] = request.session_id
    if request.user_id:
        facts["user"] = request.user_id[:_MOST_VALUE]
    if request.metadata:
        pairs = sorted(request.metadata.items())[:_MOST_PAIRS]
        facts["metadata"] = {name[:_MOST_NAME]: value[:_MOST_VALUE] for name, value in pairs}


def _last_turn(choice: Choice, split: Split, finish_reason: str) -> None:
    """Take the gateway's calls out of the message that the client reads."""
    del choice.message.tool_calls[:]
    choice.message.tool_calls.extend(split.client)
    if not (split.client or choice.message.HasField("content") or choice.message.HasField("refusal")):
        choice.message.content = ""
    number_anew(choice.message.tool_calls)
    choice.finish_reason = finish_reason
