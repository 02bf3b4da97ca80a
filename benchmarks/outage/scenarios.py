"""All scenarios: single ones with a table each, and groups that share one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from benchmarks.outage.scenario import Kind, Phase, Scenario

RETRY, PYBREAKER, STAMINA = "requests + urllib3.Retry", "requests + tenacity + pybreaker", "httpx + stamina"
INTERLOCK = "requests + urllib3.Retry + interlock-cb"

PEERS = (
    "requests",
    RETRY,
    PYBREAKER,
    INTERLOCK,
    "httpx",
    STAMINA,
    "httpx-retries",
    "elastic-transport",
)

OUTAGE = Scenario(
    name="outage",
    title="An outage: 503 for 20 s",
    rate=50,
    phases=(Phase(5), Phase(20, "503"), Phase(30)),
    clients=(
        *PEERS,
        "sleepwalker",
        "sleepwalker, open_max=2",
        "sleepwalker, probing",
        "sleepwalker, without its breaker",
    ),
)
ERRORS = Scenario(
    name="errors",
    title="One request in twenty fails",
    rate=125,
    phases=(Phase(40),),
    clients=(*PEERS, "sleepwalker"),
    error_share=0.05,
)
TAIL = Scenario(
    name="tail",
    title="A slow tail: 3 % of the responses take 50 times longer",
    rate=50,  # with 100 a second a client that makes one call at a time could not keep up, and nothing else would show
    phases=(Phase(40),),
    clients=("requests", PYBREAKER, "httpx", "sleepwalker", "sleepwalker, hedging"),
    slow_share=0.03,
    slow_factor=50,
)
HANG = Scenario(
    name="hang",
    title="A host that accepts and never answers, for 20 s",
    rate=20,
    phases=(Phase(3), Phase(20, "hang"), Phase(25)),
    clients=(*PEERS, "sleepwalker", "sleepwalker, slow_call=1", "sleepwalker, interactive"),
)

#: Answers take 1 ms, so that a client that makes one call at a time keeps up, and its breaker is all that shows.
PARTIAL = tuple(
    Scenario(
        name=f"partial-{error}-{percent}",
        title=f"{percent} % of the attempts fail: {'503' if error == '503' else 'the connection is reset'}",
        rate=160,
        phases=(Phase(20),),
        clients=(RETRY, STAMINA, INTERLOCK, PYBREAKER, "sleepwalker"),
        answer=0.001,
        error_share=percent / 100,
        seed=percent,
        group="partial",
        error=error,
        brief=True,
    )
    for error in ("503", "reset")
    for percent in (10, 20, 30, 40, 50, 70)
)

_ILL: dict[Kind, str] = {
    "503": "answers 503 at once",
    "reset": "resets every request",
    "404": "answers 404 at once",
    "slow": "takes 0.2 to 1 s",
    "refused": "is dead: the balancer resets what it would pass on",
    "hang": "hangs",
}
#: Ten calls in flight at a time. pybreaker lets one through at a time, and so takes no part.
MACHINES = tuple(
    Scenario(
        name=f"machines-{kind}",
        title=f"Four machines behind one address, of which one {words}",
        rate=100,
        phases=(Phase(3), Phase(20, kind)),
        clients=("requests", RETRY, STAMINA, INTERLOCK, "sleepwalker"),
        answer=0.1,
        group="machines",
        machines=4,
        brief=True,
    )
    for kind, words in _ILL.items()
)

_OUT: dict[Kind, str] = {"503": "503", "refused": "connections refused", "hang": "silence"}
#: The peers that have a breaker go through what takes 20 s, too.
_BREAKERS = (PYBREAKER, INTERLOCK, "sleepwalker")
OUTAGES = (
    *(
        Scenario(
            name=f"outages-{kind}-{seconds}",
            title=f"{words[:1].upper()}{words[1:]} for {seconds} s",
            rate=20 if kind == "hang" or seconds == 120 else 50,
            phases=(Phase(3), Phase(seconds, kind), Phase(after)),
            clients=("sleepwalker",) if kind == "hang" or seconds != 20 else _BREAKERS,
            seed=seconds,
            group="outages",
            repeat=10,
            lanes=16,
            brief=True,
        )
        for seconds, after in ((2, 10), (20, 15), (120, 20))
        for kind, words in _OUT.items()
    ),
    Scenario(
        name="outages-cold-20",
        title="503 for 20 s, and then cold",
        rate=50,
        phases=(Phase(3), Phase(20, "503"), Phase(20, "cold")),
        clients=_BREAKERS,
        group="outages",
        repeat=10,
        lanes=16,
        brief=True,
    ),
)

#: The same of exactly that length each time.
EXACT = tuple(
    replace(scenario, name=f"exact-{scenario.name}", clients=("sleepwalker",), group="exact", exact=True)
    for scenario in OUTAGES
    if scenario.phases[2].kind != "cold"
)

#: An item takes longer the more workers there are, so that each job takes some 24 s and meets the restart on its way.
BATCH = tuple(
    Scenario(
        name=f"batch-{kind}-{workers}",
        title=f"{_OUT[kind]}, {workers} {'worker' if workers == 1 else 'workers'}",
        rate=0,
        phases=(Phase(5), Phase(12, kind), Phase(28)),
        clients=(f"{RETRY}, patient", f"{STAMINA}, patient", "sleepwalker, batch"),
        answer=workers * 0.008,
        group="batch",
        workers=workers,
        items=3000,
        lanes=6,
        brief=True,
    )
    for kind in ("503", "refused")
    for workers in (1, 8, 32)
)

ALL: tuple[Scenario, ...] = (OUTAGE, ERRORS, TAIL, HANG, *PARTIAL, *MACHINES, *OUTAGES, *EXACT, *BATCH)
GROUPS = tuple(dict.fromkeys(scenario.group for scenario in ALL if scenario.group))

_QUICK: dict[str, Sequence[float]] = {
    "outage": (1, 4, 7),
    "errors": (4,),
    "tail": (5,),
    "hang": (1, 3, 2),
    "partial": (2,),
    "machines": (1, 2),
    "outages": (1, 2, 3),
    "exact": (1, 2, 3),
    "batch": (1, 2, 2),
}


def quick(scenario: Scenario) -> Scenario:
    """The same in seconds: a look at whether it runs, and no figures to go by."""
    seconds = _QUICK[scenario.group or scenario.name]
    phases = tuple(Phase(short, phase.kind) for short, phase in zip(seconds, scenario.phases, strict=True))
    return replace(scenario, phases=phases, repeat=min(scenario.repeat, 2), items=scenario.items // 10)
