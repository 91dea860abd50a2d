"""Writes other nodes' health to the file, at most once a second: it is shown before it is written."""

import asyncio
import time

import structlog

from gossip.engine import Engine
from gossip.events import Publish
from store.database import Database
from store.errors import PathmeshError
from store.health import encode_stream

EVERY_SECONDS = 1.0

log = structlog.get_logger("health-keeper")


class HealthKeeper:
    """Keeps the rows of the `health` table as the engine's streams are."""

    def __init__(self, database: Database, engine: Engine) -> None:
        self._database = database
        self._engine = engine
        self._dirty: set[str] = set()
        self._wake = asyncio.Event()

    def news(self, change: Publish) -> None:
        """Take note of whose content moved."""
        others = change.health - {self._engine.identity.name}
        if others:
            self._dirty |= others
            self._wake.set()

    async def run(self) -> None:
        """Write until cancelled, and what is left then. A failed write is logged and tried again with the next change."""
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                await self._write()
                await asyncio.sleep(EVERY_SECONDS)
        finally:
            if self._dirty:
                await self._write()

    async def _write(self) -> None:
        dirty, self._dirty = self._dirty, set()
        streams = self._engine.exchange.streams
        rows = {node: encode_stream(streams[node]) for node in dirty if node in streams}
        try:
            await self._database.save_streams(rows, dirty - streams.keys(), time.time())
        except PathmeshError as fault:
            self._dirty |= dirty
            log.warning("health not written", why=fault.message)
