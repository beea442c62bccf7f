"""FileAnswer is one answer of the lane whose body the kernel copies from its file to the client."""

from __future__ import annotations

from time import perf_counter

from nugetproxy.metrics import Metrics
from nugetproxy.store.packages.held import HeldPackage
from nugetproxy.web.kernelcopy import AtEnd, KernelCopy
from nugetproxy.web.lane import Lane
from nugetproxy.web.prepared import Form, Prepared
from nugetproxy.web.seen import Seen


class FileAnswer:
    """From its request to its last byte; keeps the file open as long as that takes, whatever becomes of the package."""

    __slots__ = ("_at", "_began", "_form", "_held", "_lane", "_prepared", "_seen", "_waits")

    def __init__(
        self, lane: Lane, seen: Seen, prepared: Prepared, form: Form, held: HeldPackage, *, began: float
    ) -> None:
        """``began``: when its request came in, by ``perf_counter``."""
        self._lane = lane
        self._seen = seen
        self._prepared = prepared
        self._form = form
        self._held = held
        self._began = began

    def at_once(self, copy: KernelCopy) -> bool:
        """Whether the client took head and body at once, as ``KernelCopy.at_once`` sends them.

        If not, or where that raises, the file stays open until one of ``sent`` and ``cut``.
        """
        form, held, is_sent = self._form, self._held, False
        self._waits = perf_counter()
        try:
            is_sent = copy.at_once(form.head, held.fd, form.start, form.start + form.size)
        finally:
            if is_sent:
                self._count()
            else:
                self._at = copy.at
                held.acquire()
        return is_sent

    def start(self, copy: KernelCopy, at_end: AtEnd) -> bool:
        """Send what is left of the body, as ``KernelCopy.start`` does."""
        return copy.start(self._held.fd, self._at, self._form.start + self._form.size, at_end)

    def sent(self) -> None:
        """The client has all of it."""
        self._held.release()
        self._count()

    def _count(self) -> None:
        ended = perf_counter()
        self._lane.count(
            self._prepared,
            self._form,
            self._seen,
            self._lane.now(),
            ended - self._began,
            waited=ended - self._waits,
        )

    def cut(self, error: Exception, metrics: Metrics) -> None:
        """It ended before; whoever calls this cuts the connection."""
        self._held.release()
        why = "client_stall" if isinstance(error, TimeoutError) else "client_left"
        metrics.responses_aborted.labels(why).inc()
        self._lane.cut(self._prepared, self._form, self._seen, why, perf_counter() - self._began)
