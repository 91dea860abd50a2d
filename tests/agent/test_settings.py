"""Settings: defaults, types, ranges, what a wrong file is told, and the reference."""

import dataclasses
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent import settings
from store.errors import UnavailableError, UsageError
from store.members import is_node_name


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "pathmesh.toml"
    path.write_text(text, encoding="utf-8")
    return path


def refusal(tmp_path: Path, text: str) -> UsageError:
    with pytest.raises(UsageError) as caught:
        settings.load(written(tmp_path, text))
    return caught.value


def test_without_the_default_file_every_value_is_its_default(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(settings, "DEFAULT_PATH", tmp_path / "absent.toml")
    loaded = settings.load()
    assert loaded == settings.Settings()
    assert loaded.source is None
    assert loaded.api.socket == Path("/run/pathmesh/pathmesh.sock")
    assert loaded.api.mode == 0o660
    assert loaded.web.listen is None
    assert loaded.multipath.socket == "@/org/kernel/linux/storage/multipathd"


def test_a_file_that_was_asked_for_must_exist(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError) as caught:
        settings.load(tmp_path / "absent.toml")
    assert caught.value.code == "settings-missing"
    assert "absent.toml" in caught.value.message


def test_an_unreadable_file_is_no_traceback(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="Is a directory"):
        settings.load(tmp_path)


def test_values_of_every_kind_arrive_typed(tmp_path: Path) -> None:
    loaded = settings.load(
        written(
            tmp_path,
            """
            [node]
            name = "n1"
            state_dir = "/srv/pm"
            [gossip]
            listen = "tcp://[::1]:7001"
            join_listen = "tcp://*:7002"
            advertise = "tcp://storage-1.example:7001"
            pull_interval_ms = 250
            [api]
            mode = "0600"
            [web]
            listen = "127.0.0.1:7980"
            [multipath]
            socket = "/run/multipathd.socket"
            accept_renames = true
            udev = "off"
            debounce_ms = 0
            [log]
            format = "json"
            """,
        )
    )
    assert loaded.node == settings.NodeSettings(name="n1", state_dir=Path("/srv/pm"))
    assert loaded.gossip.listen == "tcp://[::1]:7001"
    assert loaded.gossip.join_listen == "tcp://*:7002"
    assert loaded.gossip.advertise == "tcp://storage-1.example:7001"
    assert loaded.gossip.pull_interval_ms == 250
    assert loaded.api.mode == 0o600
    assert loaded.web.listen == "127.0.0.1:7980"
    assert loaded.multipath.accept_renames is True
    assert loaded.multipath.debounce_ms == 0
    assert loaded.log.format == "json"
    assert loaded.source == tmp_path / "pathmesh.toml"


@pytest.mark.parametrize(
    ("line", "key", "expected"),
    [
        ('[node]\nname = "-n"', "node.name", "letters, digits"),
        ('[node]\nkeys_dir = "keys"', "node.keys_dir", "an absolute path"),
        ("[node]\nstate_dir = 3", "node.state_dir", "an absolute path"),
        ('[gossip]\nlisten = "0.0.0.0:7946"', "gossip.listen", "tcp://HOST:PORT"),
        ('[gossip]\nlisten = "tcp://::1:7946"', "gossip.listen", "IPv6 address in []"),
        ('[gossip]\nlisten = "tcp://h:0"', "gossip.listen", "a port from 1 to 65535"),
        ('[gossip]\nlisten = "tcp://h:65536"', "gossip.listen", "a port from 1 to 65535"),
        ('[gossip]\nadvertise = "tcp://0.0.0.0:7946"', "gossip.advertise", "not a wildcard"),
        ('[gossip]\njoin_listen = "tcp://0.0.0.0:7946"', "gossip.join_listen", "another port"),
        ("[gossip]\npull_interval_ms = 99", "gossip.pull_interval_ms", "from 100 to 60000"),
        ("[api]\nmode = 660", "api.mode", "octal"),
        ('[api]\nmode = "0888"', "api.mode", "octal"),
        ("[api]\nmode = true", "api.mode", "octal"),
        (f'[api]\nsocket = "/{"x" * 107}"', "api.socket", "at most 107 bytes"),
        ('[api]\ngroup = "a b"', "api.group", "system group"),
        ('[web]\nlisten = "7980"', "web.listen", "HOST:PORT"),
        ('[web]\nlisten = "0.0.0.0:7980"', "web.listen", "of the loopback"),
        ('[web]\nlisten = "[::]:7980"', "web.listen", "of the loopback"),
        ('[web]\nlisten = "10.0.0.1:7980"', "web.listen", "of the loopback"),
        ('[web]\nlisten = "127.0.0.1.example:7980"', "web.listen", "of the loopback"),
        ('[web]\nlisten = "127.0.0.300:7980"', "web.listen", "of the loopback"),
        ('[web]\nlisten = "127.0.0.1:0"', "web.listen", "a port from 1 to 65535"),
        ('[multipath]\nsocket = "multipathd"', "multipath.socket", "absolute path"),
        ('[multipath]\naccept_renames = "yes"', "multipath.accept_renames", "true or false"),
        ("[multipath]\npoll_interval_ms = 99", "multipath.poll_interval_ms", "from 100 to"),
        ("[multipath]\npoll_interval_ms = 1000.0", "multipath.poll_interval_ms", "a whole number"),
        ("[multipath]\npoll_interval_ms = true", "multipath.poll_interval_ms", "a whole number"),
        ("[multipath]\ndebounce_ms = -1", "multipath.debounce_ms", "from 0 to"),
        ('[log]\nlevel = "loud"', "log.level", '"debug"'),
        ("node = 3", "node", "a table, [node]"),
    ],
)
def test_a_bad_value_is_refused_with_file_key_and_what_was_expected(tmp_path: Path, line: str, key: str, expected: str) -> None:
    error = refusal(tmp_path, line)
    assert error.code == "settings-invalid"
    assert error.message.startswith(f"{tmp_path / 'pathmesh.toml'}: {key}: ")
    assert expected in error.message
    assert "\n" not in error.message


@pytest.mark.parametrize("address", ["127.0.0.1:7980", "127.1.2.254:1", "localhost:80", "LocalHost:80", "[::1]:65535"])
def test_the_page_is_served_on_any_address_of_the_loopback(tmp_path: Path, address: str) -> None:
    assert settings.load(written(tmp_path, f'[web]\nlisten = "{address}"')).web.listen == address


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        ("[multipath]\npoll-interval-ms = 1000", "did you mean 'poll_interval_ms'?"),
        ("[multipth]\nudev = 'off'", "did you mean 'multipath'?"),
        ("[log]\nlevel = 'infos'", "did you mean 'info'?"),
        ("[api]\nzzzzzz = 1", ""),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest(tmp_path: Path, line: str, hint: str) -> None:
    assert refusal(tmp_path, line).hint == hint


def test_check_lists_every_fault(tmp_path: Path) -> None:
    path = written(tmp_path, "[node]\nname = 1\nfoo = 2\n[nope]\n[log]\nlevel = 'x'\n")
    loaded, faults = settings.check(path)
    assert [fault.key for fault in faults] == ["node.name", "node.foo", "nope", "log.level"]
    assert loaded.log.level == "info"
    with pytest.raises(UsageError, match="and 3 more"):
        settings.load(path)


def test_a_syntax_error_names_file_and_line(tmp_path: Path) -> None:
    error = refusal(tmp_path, "[node]\nname = \n")
    assert "pathmesh.toml: not valid TOML" in error.message
    assert "line 2" in error.message


def test_text_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "pathmesh.toml"
    path.write_bytes(b"[node]\nname = '\xff'\n")
    with pytest.raises(UsageError, match="not UTF-8 at byte 15"):
        settings.load(path)


@pytest.mark.parametrize(("host", "name"), [("pve1.example.org", "pve1"), ("my_host", "my-host"), ("-.x", "node"), ("a" * 80, "a" * 63)])
def test_the_default_name_is_always_a_node_name(monkeypatch: pytest.MonkeyPatch, host: str, name: str) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: host)
    assert settings.Settings().node.name == name
    assert is_node_name(name)


@given(st.text(max_size=80))
def test_any_host_name_gives_a_node_name(host: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("socket.gethostname", lambda: host)
        assert is_node_name(settings.Settings().node.name)


@given(st.from_regex(r"[A-Za-z0-9-]{0,66}", fullmatch=True) | st.text(max_size=8))
def test_a_name_is_accepted_exactly_if_the_cluster_would_accept_it(name: str) -> None:
    kind = next(row for row in dataclasses.fields(settings.NodeSettings) if row.name == "name").metadata["kind"]
    try:
        accepted = kind.parse(name) == name
    except ValueError:
        accepted = False
    assert accepted == is_node_name(name)


_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
)
_rows = [(table, row.name) for table, cls in settings.TABLES.items() for row in dataclasses.fields(cls)]


@given(st.sampled_from(_rows), _values)
def test_every_kind_returns_its_type_or_refuses(row: tuple[str, str], value: object) -> None:
    table = settings.TABLES[row[0]]
    kind = next(field for field in dataclasses.fields(table) if field.name == row[1]).metadata["kind"]
    try:
        parsed = kind.parse(value)
    except ValueError:
        return
    assert isinstance(parsed, int | str | Path)


def test_every_default_is_accepted_by_its_own_kind() -> None:
    for name, values in settings.effective(settings.Settings()).items():
        for row in dataclasses.fields(settings.TABLES[name]):
            value = values[row.name]
            if value is not None:
                assert row.metadata["kind"].parse(value) == getattr(getattr(settings.Settings(), name), row.name)


def test_durations_and_sizes_name_their_unit() -> None:
    for _, name in _rows:
        if any(word in name for word in ("interval", "timeout", "debounce", "window")):
            assert name.endswith(("_ms", "_seconds")), name


def test_the_reference_is_up_to_date() -> None:
    file = Path(__file__).parents[2] / "docs" / "settings.md"
    assert file.read_text(encoding="utf-8") == settings.reference(), "run python -m agent.cli.reference"


def test_settings_are_immutable() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        settings.Settings().log.level = "debug"  # type: ignore[misc]
