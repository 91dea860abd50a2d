"""What the daemon prints against what was written, keyword by keyword."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apply.option_model import Scope
from apply.option_tables import TABLES
from apply.same_value import same_value

EQUAL = [
    ("no_path_retry", "12", "12"),
    ("no_path_retry", "fail", "0"),
    ("no_path_retry", "0", "fail"),
    ("no_path_retry", "queue", "queue"),
    ("dev_loss_tmo", "infinity", "4294967295"),
    ("detect_prio", "yes", "1"),
    ("detect_prio", "no", "0"),
    ("user_friendly_names", "no", "0"),
    ("features", "1 queue_if_no_path", "1  queue_if_no_path"),
    ("path_selector", "service-time 0", "service-time 0"),
    ("reservation_key", "1A", "0x1a"),
    ("reservation_key", "0x10:aptpl", "0x0010:aptpl"),
    ("flush_on_last_del", "always", "yes"),
    ("flush_on_last_del", "unused", "no"),
    ("ghost_delay", "no", "off"),
    ("marginal_pathgroups", "on", "yes"),
    ("polling_interval", "007", "7"),
    ("hardware_handler", "1 alua", "1 alua"),
    ("force_sync", "no", "yes"),
    ("retrigger_tries", "7", "0"),
    ("max_fds", "1048576", "max"),
]
DIFFERENT = [
    ("no_path_retry", "1", "queue"),
    ("no_path_retry", "queue", "1"),
    ("no_path_retry", "fail", "no"),
    ("no_path_retry", "12", "fail"),
    ("fast_io_fail_tmo", "0", "off"),
    ("fast_io_fail_tmo", "1", "on"),
    ("eh_deadline", "off", "0"),
    ("max_retries", "0", "off"),
    ("failback", "1", "immediate"),
    ("flush_on_last_del", "never", "no"),
    ("marginal_pathgroups", "on", "fpin"),
    ("path_selector", "service-time 0", "queue-length 0"),
    ("detect_prio", "yes", "no"),
    ("reservation_key", "10", "0x16"),
    ("alias", "007", "7"),
    ("alias", "on", "yes"),
    ("alias", "1", "queue"),
    ("alias", "a", None),
    ("retrigger_delay", "7", "0"),
    ("max_fds", "1048576", "1024"),
    ("max_fds", "2048", None),
]


@pytest.mark.parametrize(("key", "wanted", "found"), EQUAL)
def test_other_spellings_are_the_same(key: str, wanted: str, found: str) -> None:
    assert same_value(key, wanted, found)


@pytest.mark.parametrize(("key", "wanted", "found"), DIFFERENT)
def test_what_differs_is_told(key: str, wanted: str, found: str | None) -> None:
    assert not same_value(key, wanted, found)


KEYWORDS = sorted({option.keyword for scope in (Scope.DEFAULTS, Scope.WWID) for option in TABLES[scope].values() if option.rendered})


@given(st.sampled_from(KEYWORDS), st.text(max_size=12), st.text(max_size=12))
def test_any_text_can_be_compared(key: str, one: str, other: str) -> None:
    assert same_value(key, one, one)
    assert same_value(key, one, other) == same_value(key, other, one) or key == "max_fds"
