"""Whom a server answers: hosts, keys, origins, forms; and what every answer carries."""

from collections.abc import Iterator
from typing import Any

import pytest

from charlm.errors import UsageError
from charlm.serving.server import Server
from charlm.serving.settings import Limits, Settings
from tests.support.serving import ask, serving

BODY = {"prompt": "a", "max_tokens": 2}
KEY = "a-key-of-somebody"
PATHS = ("/", "/health", "/metrics", "/openapi.json", "/v1/models", "/none", "/v1/completions")


@pytest.fixture(scope="module")
def locked() -> Iterator[Server]:
    """A server with a key, a name and an origin."""
    with serving(
        "characters",
        key=KEY,
        hosts=("lab.example",),
        origins=("https://page.example",),
    ) as found:
        yield found


def test_every_answer_carries_the_headers(server: Server, locked: Server) -> None:
    """Nothing is taken for another type, nothing runs, nothing is kept."""
    for one in (server, locked):
        for path in PATHS:
            for method in ("GET", "POST", "DELETE", "OPTIONS"):
                headers = ask(one, path, method=method).headers
                assert headers["x-content-type-options"] == "nosniff"
                assert headers["content-security-policy"].startswith("default-src 'none'")
                assert headers["cache-control"] == "no-store"
                assert headers["referrer-policy"] == "no-referrer"
                assert "access-control-allow-origin" not in headers
                assert "server" not in headers


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:99", "127.0.0.1:8080", "[::1]", "[::1]:1", "lab.example:80"]
)
def test_own_hosts_are_answered(locked: Server, host: str) -> None:
    """With any port, for a port may be forwarded."""
    assert ask(locked, "/health", headers={"Host": host}).status == 200


def test_a_foreign_host_is_told_what_to_do(server: Server) -> None:
    """The message names what allows it."""
    answer = ask(server, "/health", headers={"Host": "evil.example"})
    assert answer.status == 403
    assert "'evil.example'" in answer.message
    assert "`allowed_hosts`" in answer.message


def test_a_key_is_asked_for(locked: Server) -> None:
    """By all but health and the page; nothing but the whole key will do."""
    good = {"Authorization": f"Bearer {KEY}"}
    assert ask(locked, "/v1/completions", BODY, headers=good).status == 200
    assert ask(locked, "/v1/models", headers={"Authorization": f"bearer  {KEY} "}).status == 200
    assert ask(locked, "/health").status == 200
    assert ask(locked, "/").data.startswith(b"<!DOCTYPE html>")
    for given in ("", KEY, f"Bearer {KEY[:-1]}", f"Bearer {KEY}x", f"Basic {KEY}", "Bearer é"):
        headers = {"Authorization": given.encode().decode("latin-1")} if given else {}
        for path in ("/v1/completions", "/v1/score"):
            answer = ask(locked, path, BODY, headers=headers)
            assert answer.status == 401
            assert answer.headers["www-authenticate"] == "Bearer"
            assert answer.json["error"]["code"] == "invalid_api_key"
            assert KEY not in answer.message
        for path in ("/metrics", "/v1/models", "/openapi.json", "/tokenizer_info"):
            assert ask(locked, path, headers=headers).status == 401


def test_pages_of_other_origins_are_shut_out(server: Server, locked: Server) -> None:
    """No CORS but for the origin that was named; a preflight needs no key."""
    asked = {
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization, content-type",
    }
    for one, origin, allowed in (
        (server, "https://page.example", False),
        (locked, "https://page.example", True),
        (locked, "https://evil.example", False),
        (locked, "null", False),
    ):
        headers = {"Origin": origin}
        answer = ask(one, "/v1/completions", method="OPTIONS", headers={**headers, **asked})
        assert (answer.headers.get("access-control-allow-origin") == origin) is allowed
        answer = ask(
            one,
            "/v1/completions",
            BODY,
            headers={**headers, "Authorization": f"Bearer {KEY}"},
        )
        assert (answer.headers.get("access-control-allow-origin") == origin) is allowed
        assert answer.headers.get("access-control-allow-origin") in (None, origin)
        assert "access-control-allow-credentials" not in answer.headers


@pytest.mark.parametrize(
    "kind",
    [
        None,
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/jsonp",
    ],
)
def test_only_json_is_taken(server: Server, kind: str | None) -> None:
    """What a form of a foreign page can send without asking is refused."""
    answer = ask(
        server,
        "/v1/completions",
        data=b'{"prompt": "a"}',
        headers={"Content-Type": kind or ""},
    )
    assert answer.status == 415
    assert "application/json" in answer.message


def test_json_may_name_its_charset(server: Server) -> None:
    """As some clients do."""
    headers = {"Content-Type": "Application/JSON; charset=utf-8"}
    assert ask(server, "/v1/completions", BODY, headers=headers).status == 200


def test_text_of_a_model_is_never_html(server: Server) -> None:
    """Neither in the type of an answer nor, as it happens, in its bytes."""
    prompt = "<script>alert(1)</script>"
    answer = ask(server, "/v1/completions", {**BODY, "prompt": prompt, "echo": True})
    assert answer.json["choices"][0]["text"].startswith(prompt)
    assert answer.headers["content-type"] == "application/json"
    assert b"<" not in answer.data
    answer = ask(server, f"/v1/{prompt}".replace(" ", ""))
    assert answer.status == 404
    assert b"<" not in answer.data


GOOD: dict[str, Any] = {"host": "127.0.0.1", "port": 0}


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"host": "0.0.0.0"}, "opens the server to the network: give `api_key`, or say `no_key`"),
        ({"host": "192.168.1.5"}, "opens the server to the network"),
        ({"host": "example.org"}, "opens the server to the network"),
        ({"key": ""}, "api_key must be printable ASCII"),
        ({"key": "two words"}, "api_key must be printable ASCII"),
        ({"key": "a", "open": True}, "give `api_key` or `no_key`, not both"),
        ({"port": 70_000}, "port must be from 0 to 65,535"),
        ({"origins": ("*",)}, "cors must be an origin"),
        ({"origins": ("https://a.example/x",)}, "cors must be an origin"),
        ({"origins": ("file://x",)}, "cors must be an origin"),
        ({"origins": ("https://[",)}, "cors must be an origin"),
        ({"hosts": ("http://a.example",)}, "allowed_hosts must be a name"),
        ({"hosts": ("",)}, "allowed_hosts must be a name"),
    ],
)
def test_what_is_not_safe_is_not_begun(settings: dict[str, Any], said: str) -> None:
    """Open to the network only with a key, or aloud."""
    with pytest.raises(UsageError, match=said.replace("*", r"\*")):
        Settings(**{**GOOD, **settings})


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "::1", "localhost"])
def test_loopback_needs_no_key(host: str) -> None:
    """All of 127.0.0.0/8."""
    assert Settings(host=host).is_loopback


def test_an_address_of_its_own_is_a_host() -> None:
    """By which it is called; all addresses at once are none."""
    assert Settings(host="192.168.1.5", key="k").answers_to("192.168.1.5:8080")
    assert not Settings(host="0.0.0.0", key="k").answers_to("0.0.0.0:8080")
    assert not Settings(host="::", key="k").answers_to("[::]:8080")


def test_limits_are_more_than_nothing() -> None:
    """A server that takes nothing is a mistake."""
    with pytest.raises(UsageError, match="lanes must be more than 0"):
        Limits(lanes=0)


def test_an_address_that_is_taken_is_told(server: Server) -> None:
    """In a sentence."""
    port = int(server.url.rpartition(":")[2])
    with pytest.raises(UsageError, match=f"cannot listen at 127.0.0.1, port {port}: .*in use"):
        Server([one.model for one in server.app.catalogue.served.values()], Settings(port=port))
