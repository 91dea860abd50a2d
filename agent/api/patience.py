"""How long a client is waited for, and how much of a head is taken."""

import asyncio
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from store.limits import limit

HEAD_SECONDS = limit("request_head_seconds")


class PatientProtocol(HttpToolsProtocol):
    """uvicorn's protocol, which also lets a handler drop the connection (`abort` in the request's state), and bounds what it waits for.

    uvicorn itself lets a client that never finishes its request hold one of the few connections for ever, and takes heads of any size. Here
    a head must be whole in time, however its bytes come, and so must the rest of a body that nobody waits for any more; a connection that
    brings nothing is closed after a while.
    """

    _owed: asyncio.TimerHandle | None = None
    """Runs while the client owes a head, or the rest of a request that was answered already."""
    _unread = 0
    """Bytes that came and are not of a body, since a request was whole."""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self.app_state = {**self.app_state, "abort": transport.abort}
        self._expect_rest()

    def connection_lost(self, exc: Exception | None) -> None:
        self._have_rest()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._unread += len(data)
        super().data_received(data)
        if self._unread > limit("request_head_bytes"):
            self.transport.abort()
            return
        cycle = cast(RequestResponseCycle | None, self.cycle)  # None until the first head is complete
        if cycle is None or cycle.response_complete or cycle.more_body:
            self._limit_waiting()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._expect_rest()

    def on_headers_complete(self) -> None:
        self._have_rest()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._unread -= len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._unread = 0
        self._have_rest()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.cycle.response_complete and self.cycle.more_body:
            self._expect_rest()

    def _expect_rest(self) -> None:
        if self._owed is None:
            self._owed = self.loop.call_later(HEAD_SECONDS, self.transport.abort)

    def _have_rest(self) -> None:
        if self._owed is not None:
            self._owed.cancel()
            self._owed = None

    def _limit_waiting(self) -> None:
        if self.timeout_keep_alive_task is None and not self.transport.is_closing():
            self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, self.timeout_keep_alive_handler)
