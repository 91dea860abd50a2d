"""What the API's tests share: an empty node, and cells to show."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from store.cells import MULTIPATH_MAP, Cell

NOW = 1_700_000_000.0


@pytest.fixture
def api(lone: Any) -> Iterator[Any]:
    """The module's node with an empty configuration, before and after."""
    lone.clear()
    yield lone
    lone.observe()
    lone.clear()


@pytest.fixture(scope="session")
def map_cell() -> Callable[..., Cell]:
    """Makes the cell of one map with two paths."""

    def make(wwid: str, state: str = "healthy", *, usable: int = 2, vendor: str = "PURE", reasons: tuple[str, ...] = ()) -> Cell:
        paths = [f"fc:0x21000000000000{n:02x}>0x5001438024200{n:03x}" for n in range(2)]
        detail = {
            "alias": None,
            "vendor": vendor,
            "product": "FlashArray",
            "size_bytes": 2**30,
            "allowed": True,
            "redundancy": "full" if usable == 2 else "single",
            "paths": {
                "usable": usable,
                "active": usable,
                "standby": 0,
                "marginal": 0,
                "failed": 0,
                "visible": usable,
                "expected": 2,
                "expected_source": "learned",
            },
            "missing_paths": paths[usable:],
            "queueing": "off",
            "path_list": [
                {"id": path, "class": "active", "group": 1, "chk": "ready", "dm": "active", "dev_state": "running"}
                for path in paths[:usable]
            ],
            "baseline": paths,
        }
        return Cell(MULTIPATH_MAP, wwid, state, reasons, detail, {"sysfs": "dm-0", "devs": {paths[0]: "sda", paths[1]: "sdb"}}, NOW)

    return make
