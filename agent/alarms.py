"""What went wrong in the background and somebody should know: logged when it happens, counted, shown in status while it is recent."""

import time
from collections import OrderedDict
from typing import Any

import structlog

SHOWN_SECONDS = 3600
KEPT = 64


class Alarms:
    """The recent alarms by code, newest last; at most `KEPT` codes."""

    def __init__(self) -> None:
        self._log = structlog.get_logger("alarm")
        self._seen: OrderedDict[str, tuple[float, int, str, str]] = OrderedDict()

    def raise_alarm(self, code: str, message: str, hint: str = "") -> None:
        """Take note of one."""
        count = self._seen.pop(code, (0.0, 0, "", ""))[1] + 1
        self._seen[code] = (time.monotonic(), count, message, hint)
        while len(self._seen) > KEPT:
            self._seen.popitem(last=False)
        self._log.warning(message, code=code, count=count)

    def problems(self) -> list[dict[str, Any]]:
        """The recent ones as problems of the status document."""
        now = time.monotonic()
        return [
            {
                "code": code,
                "key": "",
                "option": "",
                "message": f"{message} ({count} times)" if count > 1 else message,
                "hint": hint,
                "severity": "warning",
            }
            for code, (at, count, message, hint) in self._seen.items()
            if now - at < SHOWN_SECONDS
        ]
