"""The blocking transport."""

from __future__ import annotations

import contextlib
import sys
from functools import partial
from typing import Any

from sleepwalker.adapters.transports.base import Call, PolicyTransport, RequestT, ResponseT, TransportT
from sleepwalker.adapters.transports.bodies import Rest, body_of, check_whole, is_read_within
from sleepwalker.adapters.transports.progress import note_progress
from sleepwalker.adapters.transports.sockets import keep_deadlines
from sleepwalker.drivers.threads.drive import drive
from sleepwalker.drivers.threads.waits import Waits
from sleepwalker.engine import Final, Outcome, Send, run
from sleepwalker.events import Observer
from sleepwalker.telemetry import tracing
from sleepwalker.transport.blocking.deadline import AttemptDeadline, run_with_deadline


class BlockingTransport(PolicyTransport[TransportT, RequestT, ResponseT]):
    """Wraps another transport and applies a policy, in its caller's thread."""

    def _begin(self) -> None:
        self._waits = Waits(self._clock)
        self._cuts = not keep_deadlines(self._inner)

    @classmethod
    def _kinds(cls) -> tuple[type[Any], type[Any]]:
        module = cls._library.module
        return module.BaseTransport, module.HTTPTransport

    def handle_request(self, request: RequestT) -> ResponseT:
        """The response to a request, of any status. Raises the error that explains why there is none."""
        place = self._place(request)
        if place is None:
            response: ResponseT = self._inner.handle_request(request)
            return response
        call = self._call(request, body_of(self._library, request, self._buffer), place)
        work, tracer, observe = partial(self._perform, call), tracing.tracer, self._places.observe
        # Passed on without a name: otherwise this frame and the error it raises would keep each other alive.
        handed: ResponseT = self._hand_over(work(observe) if tracer is None else tracer(self._traced(call, work)), call)
        return handed

    def close(self) -> None:
        """Close the wrapped transport, and end waiting calls (queued or before a retry)."""
        waits, self._waits = self._waits, Waits(self._clock)
        waits.end()
        self._inner.close()

    def _perform(self, call: Call, observe: Observer) -> Final:
        steps = run(call.place.host, call.compiled, call.request, self._clock, observe)
        return drive(steps, self._waits, partial(self._attempt, call), _release)

    def _attempt(self, call: Call, step: Send) -> Outcome:
        """Send once, and read the body."""
        compiled, handled = call.compiled, sys.exception()
        deadline = AttemptDeadline(self._clock, connect=compiled.connect, read=compiled.read, ends_at=step.deadline)
        deadline.phase = self._at_first
        request = self._request(call, step, cut=self._cuts)
        note_progress(deadline, request.extensions)
        try:
            response, whole = run_with_deadline(deadline, self._exchanged, request, deadline)
        except Exception as error:  # noqa: BLE001 - raised, translated, when the call ends
            hit = deadline.deadline_hit or self._clock.monotonic() >= step.deadline
            return self._failed(
                call, step, error, handled, deadline.phase, at_proxy=deadline.at_proxy, deadline_hit=hit
            )
        return self._answered(call, response, whole=whole)

    def _exchanged(self, request: Any, deadline: AttemptDeadline) -> tuple[Any, bool]:
        """The response, and whether its body was read."""
        response = self._inner.handle_request(request)
        deadline.phase = "body"
        library, most = self._library, self._buffer
        try:
            pieces: list[bytes] = []
            more, size, whole = iter(response.stream), 0, False
            if is_read_within(response.status_code, response.headers, most):
                while size <= most:
                    deadline.remaining()
                    if (piece := next(more, None)) is None:
                        whole = True
                        break
                    pieces.append(piece)
                    size += len(piece)
                if whole:
                    check_whole(pieces, response)
            elif response.status_code == 101:
                return response, True
        except BaseException:
            _release(response)
            raise
        if not whole:
            return self._rebuilt(response, library.stream(Rest)(pieces, more, response.stream)), False
        response.close()
        return self._rebuilt(response, library.module.ByteStream(b"".join(pieces))), True


def _release(response: Any) -> None:
    """Release the connection of a response that is not used."""
    with contextlib.suppress(Exception):
        response.close()
