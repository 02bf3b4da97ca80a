"""The parts of a policy: each field with its default, its bounds, its unit and its reason."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, PlainSerializer, WithJsonSchema

from sleepwalker.policy.base import PolicyModel
from sleepwalker.policy.rules import Rule, at_most, connect_fits_total, free_header, one_trigger, slow_both_or_neither
from sleepwalker.policy.statuses import HIGHEST, LOWEST, SERVER_FAILURES, WORD, listed, spelt_out

# The operating system waits for sockets in milliseconds that fit 31 bits: shorter than 1 ms and longer than about
# 23 days it cannot.
_SHORTEST, _LONGEST = 0.001, 2_000_000

Seconds = Annotated[float, Field(ge=_SHORTEST, le=_LONGEST)]
SecondsOrZero = Annotated[float, Field(ge=0, le=_LONGEST)]
Ratio = Annotated[float, Field(gt=0, le=1)]
Count = Annotated[int, Field(ge=1, le=1_000_000)]

Jitter = Literal["full", "equal", "decorrelated", "none"]
Mode = Literal["enforce", "observe"]
Binds = Literal["call", "pair", "host"]
_MODE = "`enforce` rejects calls; `observe` only reports what it would have done."

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
"""The methods that change nothing on the server (RFC 9110 section 9.2.1)."""
IDEMPOTENT_METHODS = SAFE_METHODS | {"PUT", "DELETE"}
"""The methods that may be processed twice to the same effect (RFC 9110 section 9.2.2)."""


def _as_set(value: Any, spelt: Callable[[Any], Any]) -> Any:
    """A frozenset of the usual containers, each item as `spelt`; anything else is left for the type to refuse."""
    if not isinstance(value, list | tuple | set | frozenset):
        return value
    try:
        return frozenset(map(spelt, value))
    except TypeError:
        return value


def _as_methods(value: Any) -> Any:
    return _as_set(value, lambda item: item.upper() if isinstance(item, str) else item)


def _as_statuses(value: Any) -> Any:
    found = _as_set(value, lambda item: item)
    return spelt_out(found) if isinstance(found, frozenset) else found


Status = Annotated[int, Field(ge=LOWEST, le=HIGHEST)]
# RFC 9110 section 5.6.2: a method is a token.
Method = Annotated[str, Field(pattern=r"^[-!#$%&'*+.^_`|~0-9A-Za-z]+$", title="an HTTP method")]
Statuses = Annotated[
    frozenset[Status],
    BeforeValidator(_as_statuses),
    PlainSerializer(listed, return_type=list[int | str]),
    WithJsonSchema(
        {
            "type": "array",
            "uniqueItems": True,
            "items": {
                "anyOf": [
                    {"type": "integer", "minimum": LOWEST, "maximum": HIGHEST},
                    {"type": "string", "const": WORD, "title": f'"{WORD}"'},
                ]
            },
        }
    ),
]
Methods = Annotated[frozenset[Method], BeforeValidator(_as_methods), PlainSerializer(listed, return_type=list[str])]
HeaderName = Annotated[str, Field(pattern=r"^[-!#$%&'*+.^_`|~0-9A-Za-z]+$", title="a header's name")]
ProbePath = Annotated[
    str,
    Field(pattern=r"^/[!-\"$->@-~]*$", title="a path that begins with / and has no query, fragment or space"),
]


class TimeoutPolicy(PolicyModel):
    """How long things may take. Every limit holds also while a server sends one byte at a time."""

    rules: ClassVar[tuple[Rule, ...]] = (
        at_most("connect", "attempt"),
        at_most("attempt", "total"),
        connect_fits_total,
        free_header("propagate"),
    )

    connect: Seconds = Field(
        default=3.05,
        description="Seconds to be connected, name look-up and TLS handshake included. A little more than 3, so that "
        "a lost first packet, sent again after 1 s and after another 2 s, can still arrive.",
    )
    read: Seconds = Field(
        default=10.0,
        description="Seconds between two bytes of the answer, and from the request to its first byte. "
        "Longer than `attempt` it has no effect, except on streamed bodies.",
    )
    attempt: Seconds = Field(
        default=10.0,
        description="Seconds for one attempt, from connecting to the last byte of the body (of the head, for a "
        "stream). One stuck attempt leaves time for another.",
    )
    total: Seconds = Field(
        default=30.0,
        description="Seconds that the caller waits at most: all attempts, the waits between them, and queueing.",
    )
    propagate: HeaderName | None = Field(
        default=None,
        description="Header that tells the server with each attempt how many seconds are left for its answer, such as "
        "`X-Request-Timeout`, so that it need not work on what nobody waits for. Off by default.",
    )


class RetryBudget(PolicyModel):
    """How many of a host's recent sends may be retries that came to nothing, so that these never multiply an outage."""

    ratio: Ratio = Field(
        default=0.2,
        description="Retries that came to nothing, as a share of the calls within `window`; one that is answered is "
        "not charged. With the host down completely, its load grows by this share rather than `attempts`-fold.",
    )
    min_per_second: Annotated[float, Field(ge=0, le=1_000_000)] = Field(
        default=1.0,
        description="Retries in vain per second that are granted in any case, so that a host with few calls has some.",
    )
    window: Seconds = Field(default=10.0, description="Seconds of the past that count as recent.")


class RetryPolicy(PolicyModel):
    """Which failed attempts are followed by another, how many, and after what wait."""

    rules: ClassVar[tuple[Rule, ...]] = (at_most("wait_initial", "wait_max"),)

    attempts: Annotated[int, Field(ge=1, le=100)] = Field(
        default=3,
        description="Sends in all, the first included. 1 sends once and keeps the rest of the part's meaning.",
    )
    wait_initial: SecondsOrZero = Field(default=0.1, description="Seconds before the second attempt, before jitter.")
    wait_multiplier: Annotated[float, Field(ge=1, le=100)] = Field(
        default=2.0,
        description="Each wait is this many times the one before. Decorrelated jitter does not use it: "
        "it draws between `wait_initial` and three times the last wait.",
    )
    wait_max: SecondsOrZero = Field(
        default=5.0, description="Seconds that no wait between attempts exceeds on its own."
    )
    jitter: Jitter = Field(
        default="full",
        description="How chance spreads the waits, so that callers that failed together do not return together: "
        "`full` from nothing to the whole wait, `equal` from half of it, `decorrelated` up to three times the last "
        "wait, `none` exactly.",
    )
    statuses: Statuses = Field(
        default=frozenset({408, 429, 502, 503, 504}),
        description="Statuses of answers that are worth another attempt: the server or something before it says "
        "`not now`. A 500 is not among them: it mostly comes again. Any from 200 on may be named, such as the 202 of a "
        'job that is not done; when attempts run out, an answer below 400 is returned. `"5xx"` is short for all 5xx '
        "but 501.",
    )
    methods: Methods = Field(
        default=IDEMPOTENT_METHODS,
        description="Methods that are sent again though the first send may have been processed; by default those "
        "that do no harm twice (RFC 9110 section 9.2.2). A call's `idempotent=` and an `Idempotency-Key` header "
        "have the last word.",
    )
    retry_after_max: SecondsOrZero = Field(
        default=60.0,
        description="Seconds of `Retry-After` that are waited for at most, time permitting; an answer that asks for "
        "more is returned at once.",
    )
    after_binds: Binds = Field(
        default="call",
        description="Whom it holds back when a server asks to be left alone, by `Retry-After` or, with a 429, by its "
        "rate limit's headers: `call` the call that was told, `pair` all calls to the host with the same credentials, "
        "as servers mostly count by user or key, `host` all calls to the host. Those that have the time wait, for "
        "`retry_after_max` at most; the others raise RateLimitedError at once.",
    )
    never_sent: bool = Field(
        default=True,
        description="Whether failures that provably never reached the server (refused, no such name, no connection in "
        "time) are retried for any method.",
    )
    budget: RetryBudget | None = Field(
        default_factory=cache(RetryBudget),
        description="The share of retries among a host's calls; without it only `attempts` limits them.",
    )

    if TYPE_CHECKING:

        def __init__(
            self,
            *,
            attempts: int = ...,
            wait_initial: float = ...,
            wait_multiplier: float = ...,
            wait_max: float = ...,
            jitter: Jitter = ...,
            statuses: Iterable[int | Literal["5xx"]] = ...,
            methods: Iterable[str] = ...,
            retry_after_max: float = ...,
            after_binds: Binds = ...,
            never_sent: bool = ...,
            budget: RetryBudget | Mapping[str, Any] | Literal[False] | None = ...,
        ) -> None: ...


class BreakerPolicy(PolicyModel):
    """When a host has failed enough to be left alone, and how it comes back. It counts attempts, per host."""

    rules: ClassVar[tuple[Rule, ...]] = (at_most("open_for", "open_max"), slow_both_or_neither)

    failure_ratio: Ratio = Field(
        default=0.85,
        description="Share of failures within `window` at which the circuit opens: so few answers are hardly worth "
        "asking for. Below it, retries give more of them than an open circuit.",
    )
    window: Seconds = Field(default=30.0, description="Seconds of the past that the shares are taken over.")
    min_calls: Count = Field(
        default=50, description="Outcomes within `window` below which no share is judged: two of three is chance."
    )
    consecutive: Count = Field(
        default=5,
        description="Failures in a row that open the circuit, if they lasted `consecutive_for` and chance does not "
        "explain them (less than 1 in 100,000, given the share of failures before). A host with few calls is covered "
        "too. The attempts of one call alone do not open it.",
    )
    consecutive_for: SecondsOrZero = Field(
        default=0.5,
        description="Seconds that a run of failures must have lasted: many attempts can fail within a moment that is "
        "soon over. 0: the run alone decides, at once.",
    )
    statuses: Statuses = Field(
        default=SERVER_FAILURES,
        description="Statuses that are failures of the host: for the circuit, its health, counts and events. "
        '`"5xx"` is short for all 5xx but 501, and may stand beside numbers: `["5xx", 429]`. Of those that are not '
        "named, 408, 429 and 501 say nothing of the host, and all others prove it alive. `[]`: no answer is a failure.",
    )
    slow_ratio: Ratio | None = Field(
        default=None, description="Share of slow calls within `window` at which the circuit opens. Off by default."
    )
    slow_call: Seconds | None = Field(
        default=None,
        description="Seconds from which a call is slow; one still in flight after that time counts. Off by default.",
    )
    open_for: Seconds = Field(
        default=1.0,
        description="Seconds that an open circuit rejects everything before it lets a probe through, ±10 % so that "
        "clients do not probe in step. Longer by `open_growth` after each failed probe, and each relapse.",
    )
    open_growth: Annotated[float, Field(ge=1, le=10)] = Field(
        default=1.5, description="What the open time is multiplied by each time. 1: it stays the same."
    )
    open_max: Seconds = Field(default=10.0, description="Seconds that `open_for` grows to at most.")
    half_open_probes: Count = Field(
        default=1,
        description="Calls that are let through at a time to probe the host; the rest is rejected at once, or waits.",
    )
    close_after: Count = Field(default=2, description="Successful probes after which the circuit closes.")
    ramp: SecondsOrZero = Field(
        default=5.0,
        description="Seconds after closing that the slow start takes at most. What is let in at once doubles with each "
        "round of successes and halves with a failure, until nothing is held back: a cold host is not knocked over "
        "again, and one that is well has its load back in a moment. 0 admits all at once.",
    )
    max_wait: SecondsOrZero = Field(
        default=0.0,
        description="Seconds that a call waits for a circuit that does not let it through, within its `total`, those "
        "who came first first. Meanwhile it holds its place in the bulkhead. 0 rejects at once: most callers have "
        "something better to do.",
    )
    mode: Mode = Field(default="enforce", description=_MODE)

    if TYPE_CHECKING:

        def __init__(
            self,
            *,
            failure_ratio: float = ...,
            window: float = ...,
            min_calls: int = ...,
            consecutive: int = ...,
            consecutive_for: float = ...,
            statuses: Iterable[int | Literal["5xx"]] = ...,
            slow_ratio: float | Literal[False] | None = ...,
            slow_call: float | Literal[False] | None = ...,
            open_for: float = ...,
            open_growth: float = ...,
            open_max: float = ...,
            half_open_probes: int = ...,
            close_after: int = ...,
            ramp: float = ...,
            max_wait: float = ...,
            mode: Mode = ...,
        ) -> None: ...


class BulkheadPolicy(PolicyModel):
    """How many calls to one host may be in flight, so that one slow host cannot take all threads."""

    max_concurrent: Count = Field(
        default=1000,
        description="Calls in flight per host. High by default: a guard against leaks rather than a throttle.",
    )
    max_wait: SecondsOrZero = Field(
        default=0.0, description="Seconds that a call waits for its turn. 0 rejects at once: a queue hides the trouble."
    )
    adaptive: bool = Field(
        default=False,
        description="Whether the limit follows the host's latency, between 1 and `max_concurrent`: it grows step by "
        "step while attempts are fast, and shrinks to less than half where they take twice as long as usual, time "
        "out, or are answered by 429, or by a 503 that is one of `breaker.statuses`.",
    )
    mode: Mode = Field(default="enforce", description=_MODE)


class RateLimitPolicy(PolicyModel):
    """How many calls per second are sent to one host, for servers that count."""

    rate: Annotated[float, Field(ge=0.0001, le=1_000_000)] = Field(
        description="Calls per second in the long run. It has no default: only the server's operator knows."
    )
    burst: Count | None = Field(
        default=None, description="Calls that may be sent at once after a pause. False: one second's worth, at least 1."
    )
    max_wait: SecondsOrZero = Field(
        default=0.0, description="Seconds that a call waits for its turn. 0 rejects at once."
    )
    per: Literal["host", "credentials"] = Field(
        default="host",
        description="Whose calls are counted together: all of the `host`, or those with the same `credentials` each "
        "for themselves, for servers that count per account or key. Credentials are what `auth=` gives, or the header "
        "`Authorization`; the calls without any are counted together.",
    )
    mode: Mode = Field(default="enforce", description=_MODE)


class HedgePolicy(PolicyModel):
    """When a second copy of a slow idempotent call is sent, the first answer to win. It spends the retry budget."""

    rules: ClassVar[tuple[Rule, ...]] = (one_trigger,)

    delay: Seconds | None = Field(
        default=None, description="Seconds after which a copy is sent. Give this or `percentile`."
    )
    percentile: Annotated[float, Field(gt=0, lt=100)] | None = Field(
        default=None,
        description="Percentile of the host's recent latencies after which a copy is sent: 95 hedges the slowest "
        "twentieth. Give this or `delay`.",
    )
    max_extra: Annotated[int, Field(ge=1, le=10)] = Field(
        default=1, description="Copies of one call, the first not counted."
    )


class HealthPolicy(PolicyModel):
    """How a host is judged, and when connections are given up and made anew."""

    rules: ClassVar[tuple[Rule, ...]] = (at_most("rehook_initial", "rehook_max"),)

    window: Seconds = Field(
        default=60.0, description="Seconds of the past that the success ratio and latencies are taken over."
    )
    degraded_below: Ratio = Field(default=0.95, description="Success ratio below which a host is called degraded.")
    broken_after: Count = Field(
        default=3,
        description="Connect failures in a row after which a host is broken and its connection evicted; more where "
        "chance explains so many, by the share of failures within `window`, as where one of its machines refuses all.",
    )
    rehook_initial: SecondsOrZero = Field(
        default=1.0, description="Seconds before the hooks are asked again for a broken host, twice as long each time."
    )
    rehook_max: SecondsOrZero = Field(
        default=60.0, description="Seconds that the back-off between hook rounds grows to."
    )
    idle: Seconds = Field(default=300.0, description="Seconds after which an unused connection is retired.")
    max_age: Seconds | None = Field(
        default=None,
        description="Seconds after which a manager has a connection made anew even if in use, for hosts that move; no "
        "socket is used for longer either. Off by default.",
    )
    probe: ProbePath | None = Field(
        default=None,
        description="Path asked for in the background while the host is broken, so that it recovers without a user's "
        "call. Off by default.",
    )
    probe_interval: Seconds = Field(default=5.0, description="Seconds between two probes of a broken host.")
    unauthorized_evicts: bool = Field(
        default=True, description="Whether a 401 evicts the connection, so that the hook logs in again."
    )


class LogPolicy(PolicyModel):
    """How much is written about calls that were answered. Failures are always logged."""

    finished: Literal["debug", "info", "warning", "error", "off"] = Field(
        default="info", description="Level of `request.finished`, or `off`."
    )
    sample: Annotated[float, Field(ge=0, le=1)] = Field(
        default=1.0, description="Share of answered calls that are logged: 0.01 keeps one in a hundred, 0 none."
    )


class PoolPolicy(PolicyModel):
    """How many sockets are kept open to a host, and for how long."""

    size: Annotated[int, Field(ge=1, le=10_000)] = Field(
        default=32, description="Idle sockets kept per connection: about as many as threads use it at a time."
    )
    idle: SecondsOrZero = Field(
        default=50.0,
        description="Seconds after which an idle socket is not used again. Less than the 60 s and more at which common "
        "servers and load balancers hang up: a request sent just then is lost. 0 never uses one again. A server that "
        "says with `Keep-Alive: timeout=` that it hangs up earlier is believed, less 1 s.",
    )
    max_age: Seconds | None = Field(
        default=300.0,
        description="Seconds after which a socket is not used again however busy it is, ±10 % so that a fleet's do not "
        "all end together: calls follow a name that leads elsewhere, and reach machines that were added, within this "
        "time. False: no limit.",
    )
    block: bool = Field(
        default=False,
        description="Whether a call waits for a socket when `size` are in use, rather than opening another.",
    )
