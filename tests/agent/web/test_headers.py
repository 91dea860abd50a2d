"""Where a request may come from, and what every answer says."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.web.headers import CSP, SECURITY_HEADERS, check_origin, cookie_of, set_cookie
from store.errors import UsageError

OWN = {"host": "127.0.0.1:7980", "origin": "http://127.0.0.1:7980", "sec-fetch-site": "same-origin"}


def refusal(method: str, **headers: str | None) -> str:
    sent = {name.replace("_", "-"): value for name, value in {**OWN, **{k.replace("_", "-"): v for k, v in headers.items()}}.items()}
    try:
        check_origin(method, {name: value for name, value in sent.items() if value is not None})
    except UsageError as fault:
        assert "\n" not in fault.message and fault.hint
        return fault.code
    return ""


@pytest.mark.parametrize("host", ["127.0.0.1:7980", "localhost:7980", "LOCALHOST", "[::1]:7980", "127.0.0.1:1", "127.9.9.9:80"])
def test_names_of_the_loopback_are_taken_with_any_port(host: str) -> None:
    assert refusal("GET", host=host, origin=None) == ""
    assert refusal("POST", host=host, origin=f"http://{host}") == ""


@pytest.mark.parametrize(
    "host",
    [
        *("", "evil.example", "evil.example:7980", "127.0.0.1.evil.example:7980", "localhost.evil.example", "10.0.0.1:7980", "[::2]:1"),
        *("127.0.0.1:x", "127.0.0.1:7980, evil.example", "[::1", "user@127.0.0.1", "x" * 400),
    ],
)
def test_other_names_are_refused(host: str) -> None:
    assert refusal("GET", host=host) == "wrong-host"
    assert refusal("POST", host=host, origin=f"http://{host}") == "wrong-host"


def test_a_request_without_a_host() -> None:
    assert refusal("GET", host=None) == "wrong-host"


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "X"])
@pytest.mark.parametrize(
    "headers",
    [
        {"origin": None},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:3000"},
        {"origin": "https://127.0.0.1:7980"},
        {"origin": "http://localhost:7980"},
        {"origin": "http://evil.example"},
        {"origin": "http://127.0.0.1:7980.evil.example"},
        {"sec_fetch_site": "same-site"},
        {"sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "none"},
    ],
)
def test_a_write_comes_from_this_very_origin(method: str, headers: dict[str, str | None]) -> None:
    assert refusal(method, **headers) == "wrong-origin"
    assert refusal(method) == ""
    assert refusal(method, sec_fetch_site=None) == "", "a browser that says nothing of it is known by its Origin"


def test_other_sites_read_nothing_but_may_link_here() -> None:
    for site in ("cross-site", "same-site"):
        assert refusal("GET", sec_fetch_site=site, sec_fetch_mode="no-cors") == "wrong-origin"
        assert refusal("GET", sec_fetch_site=site, sec_fetch_mode="cors") == "wrong-origin"
        link = {"sec_fetch_site": site, "sec_fetch_mode": "navigate", "origin": None}
        assert refusal("GET", **link) == refusal("GET", **link, sec_fetch_dest="document") == ""
        for kind in ("iframe", "frame", "object", "embed"):
            assert refusal("GET", **link, sec_fetch_dest=kind) == "wrong-origin", kind
    assert refusal("GET", sec_fetch_site="none", origin=None) == refusal("GET", sec_fetch_site=None, origin=None) == ""


@pytest.mark.parametrize("origin", ["null", "http://evil.example", "http://127.0.0.1:3000", "https://127.0.0.1:7980"])
def test_a_browser_that_says_nothing_of_the_site_says_the_origin_of_who_would_read(origin: str) -> None:
    assert refusal("GET", sec_fetch_site=None, origin=origin) == "wrong-origin"


def test_nothing_inline_and_nothing_from_elsewhere_is_allowed() -> None:
    assert "unsafe" not in CSP and "*" not in CSP and "data:" not in CSP and "http" not in CSP
    assert CSP.startswith("default-src 'none'") and "frame-ancestors 'none'" in CSP and "base-uri 'none'" in CSP
    names = [name for name, _ in SECURITY_HEADERS]
    assert len(set(names)) == len(names) and all(name == name.lower() for name in names)


def test_a_cookie_goes_to_this_page_alone() -> None:
    text = set_cookie("pathmesh-x", "abc", 60)
    assert text == "pathmesh-x=abc; Path=/; Max-Age=60; HttpOnly; SameSite=Strict"
    assert cookie_of("a=1; pathmesh-x=abc;b=2", "pathmesh-x") == "abc"
    assert cookie_of("pathmesh-xx=1", "pathmesh-x") == cookie_of("", "pathmesh-x") == ""
    assert cookie_of("pathmesh-x=a; pathmesh-x=b", "pathmesh-x") == "", "two of one name: one of them is somebody else's"


HOSTS = ("127.0.0.1:7980", "localhost", "evil.example")
JUDGED = {
    "host": st.sampled_from(HOSTS) | st.text(max_size=30),
    "origin": st.sampled_from([f"http://{host}" for host in HOSTS] + ["null"]) | st.text(max_size=30),
    "sec-fetch-site": st.sampled_from(["same-origin", "same-site", "cross-site", "none"]) | st.text(max_size=9),
    "sec-fetch-mode": st.sampled_from(["navigate", "cors", "no-cors", "same-origin"]),
    "sec-fetch-dest": st.sampled_from(["document", "iframe", "empty"]),
}


@given(st.fixed_dictionaries({}, optional=JUDGED), st.sampled_from(["GET", "HEAD", "POST", "DELETE"]) | st.text(max_size=8))
def test_any_headers_are_judged(headers: dict[str, str], method: str) -> None:
    try:
        check_origin(method, headers)
    except UsageError as fault:
        assert fault.code in ("wrong-host", "wrong-origin")
        return
    host, origin, site = headers["host"], headers.get("origin"), headers.get("sec-fetch-site")
    assert "evil" not in host and origin in (None, f"http://{host}")
    if method not in ("GET", "HEAD"):
        assert origin is not None and site in (None, "same-origin")
    elif site not in (None, "same-origin", "none"):
        assert headers["sec-fetch-mode"] == "navigate" and headers.get("sec-fetch-dest", "document") == "document"


@given(st.text(max_size=60), st.text(min_size=1, max_size=8))
def test_any_cookie_header_is_read(header: str, name: str) -> None:
    assert isinstance(cookie_of(header, name), str)
