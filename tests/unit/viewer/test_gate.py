"""Who may open the viewer, and on which port."""

import socket
from http import HTTPStatus

import pytest

from avatar.base.errors import ConfigError, InputError
from avatar.viewer.gate import Gate, is_loopback, listen

LOCAL, OPEN = Gate(None, 8080), Gate("s3cret", 8080)
COOKIE = "avatar_view_8080=s3cret"


@pytest.mark.parametrize("host", ["127.0.0.1:8080", "localhost:8080", "[::1]:8080", "localhost:9000"])
def test_this_machine_may_enter(host):
    assert LOCAL.refuse("/", {"host": host}) is None
    assert LOCAL.refuse("/", {"host": host, "origin": f"http://{host}", "upgrade": "websocket"}) is None


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "evil.example:8080"},
        {"host": "127.0.0.1.evil.example"},
        {},
        {"host": "127.0.0.1:8080", "origin": "http://evil.example"},
        {"host": "127.0.0.1:8080", "origin": "null"},
        {"host": "127.0.0.1:8080", "origin": "http://127.0.0.1:9999"},
    ],
)
def test_other_sites_may_not(headers):
    assert LOCAL.refuse("/", headers).status == HTTPStatus.FORBIDDEN


def test_a_token_in_the_url_becomes_a_cookie():
    answer = OPEN.refuse("/?token=s3cret", {"host": "192.0.2.1:8080"})
    assert answer.status == HTTPStatus.SEE_OTHER
    fields = dict(answer.headers)
    assert fields["Location"] == "/"
    assert fields["Set-Cookie"].startswith(f"{COOKIE};")
    assert "HttpOnly" in fields["Set-Cookie"]
    assert "SameSite=Strict" in fields["Set-Cookie"]
    assert OPEN.refuse("/", {"host": "192.0.2.1:8080", "cookie": f"a=b; {COOKIE}"}) is None


@pytest.mark.parametrize(
    ("target", "cookie"),
    [
        ("/", ""),
        ("/?token=", ""),
        ("/?token=wrong", ""),
        ("/", "avatar_view_8080=wrong"),
        ("/?token=ünfug", "x"),
        ("/", "avatar_view_8080="),
    ],
)
def test_without_the_token_nobody_enters(target, cookie):
    assert OPEN.refuse(target, {"host": "192.0.2.1:8080", "cookie": cookie}).status == HTTPStatus.FORBIDDEN


def test_the_cookie_does_not_let_other_sites_in():
    headers = {"host": "192.0.2.1:8080", "cookie": COOKIE, "origin": "http://evil.example"}
    assert OPEN.refuse("/", headers).status == HTTPStatus.FORBIDDEN


@pytest.mark.parametrize(
    ("host", "own"),
    [
        ("127.0.0.1", True),
        ("127.1.2.3", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("me.local", False),
    ],
)
def test_which_addresses_are_this_machine_alone(host, own):
    assert is_loopback(host) is own


def test_a_busy_port_names_a_free_one():
    with listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match=rf"port {port} is in use") as caught:
            listen("127.0.0.1", port)
        free = int(caught.value.fix.rpartition(" ")[2])
        assert free > port
        with socket.create_server(("127.0.0.1", free)):
            pass


def test_an_address_of_another_machine_is_refused():
    with pytest.raises(InputError, match="cannot listen there"):
        listen("192.0.2.1", 0)
    with pytest.raises(InputError, match="cannot listen there"):
        listen("no-such-host.invalid", 0)


@pytest.mark.parametrize("port", [-1, 65536])
def test_a_port_out_of_range_is_refused(port):
    with pytest.raises(ConfigError, match="--port"):
        listen("127.0.0.1", port)
