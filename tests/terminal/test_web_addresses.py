"""Addresses of servers: credentials are taken apart, and a redirect leads nowhere else."""

from __future__ import annotations

import base64

import pytest

import config
from evidence.settings import WikiSettings
from evidence.transport import JsonTransport, MediaWikiError
from preflight.settings import setting_problems
from terminal.redaction import redact
from terminal.web_addresses import same_server, web_address
from tests.evidence.test_mediawiki_faults import GOOD, client_for
from tests.support.wiki_server import WikiServer, answer


@pytest.mark.parametrize(
    ("text", "url", "auth"),
    [
        ("https://en.wikipedia.org/w/api.php", "https://en.wikipedia.org/w/api.php", None),
        ("http://bot:secret@host/w/api.php", "http://host/w/api.php", ("bot", "secret")),
        (
            "http://bot:p%40s%2Fs%20@host:8080/api.php",
            "http://host:8080/api.php",
            ("bot", "p@s/s "),
        ),
        ("http://token@host/api.php", "http://host/api.php", ("token", "")),
        ("http://a:b@[::1]:80/api.php", "http://[::1]:80/api.php", ("a", "b")),
        ("https://host/?a=b#c", "https://host/?a=b#c", None),
    ],
)
def test_user_and_password_are_taken_apart(text, url, auth):
    found = web_address(text)
    assert (found.url, found.auth) == (url, auth)
    assert "secret" not in repr(found)


@pytest.mark.parametrize(
    "text",
    ["", "host", "ftp://host/", "file:///etc/passwd", "http://", "http://u:p@", "http://u:p/s@host/api.php",
     "http://u:p@s@host/api.php", "http://host:port/", "http://host:99999/", "http://u:p?q@host/", "http://a b/",
     "http://host/\x1b", "javascript:alert(1)"],
)  # fmt: skip
def test_what_is_no_address_is_refused(text):
    with pytest.raises(ValueError):  # noqa: PT011 - its words are the standard library's in some cases
        web_address(text)


@pytest.mark.parametrize(
    ("other", "same"),
    [
        ("https://host/other", True), ("https://HOST:443/", True), ("http://host/", False), ("https://host:444/", False),
        ("https://host.evil/", False), ("https://evil/", False), ("file:///etc/passwd", False), ("//host/", False),
        ("https://user:pw@host/", True), ("https://host:x/", False),
    ],
)  # fmt: skip
def test_a_server_is_host_and_port(other, same):
    assert same_server("https://host/w/api.php", other) is same


def test_from_http_to_https_of_one_host_is_the_same_server():
    assert same_server("http://host/a", "https://host/b")
    assert not same_server("http://host:8080/a", "https://host/b")


@pytest.mark.parametrize(
    "password",
    ["geheim/wort-1", "geheim@wort-1", "geheim?wort-1", "geheim#wort-1", "geheim wort-1"],
)
def test_a_password_that_is_not_encoded_is_refused_without_being_shown(password):
    name = "WIKIPEDIA_API_URL"
    (line,) = setting_problems(config, {name: f"http://bot:{password}@host/w/api.php"})
    assert line.startswith(f"{name} is ")
    assert "geheim" not in line
    assert "wort-1" not in line


def test_an_address_with_a_slash_in_its_password_is_redacted_and_a_port_is_not():
    assert redact("at http://bot:pa/ss-word@host/x") == "at http://***@host/x"
    assert redact("at http://host:8080/@user") == "at http://host:8080/@user"


@pytest.mark.parametrize(
    "location",
    ["http://169.254.169.254/latest/meta-data", "http://127.0.0.1:9/w/api.php", "//evil.example/w/api.php", "file:///etc/passwd",
     "ftp://127.0.0.1/", "https://127.0.0.1/", "javascript:alert(1)", "http://[", "", "http://user:pw@localhost/\x1b[2J"],
)  # fmt: skip
def test_a_redirect_to_another_server_is_refused_by_name(location):
    with (
        WikiServer(answer({}, status=302, headers={"Location": location}), GOOD) as server,
        pytest.raises(MediaWikiError, match=r"redirects to .* is not followed") as caught,
    ):
        client_for(server).call(action="query")
    assert len(server.requests) == 1
    assert str(caught.value).isprintable()
    assert "pw" not in str(caught.value)


def test_a_redirect_to_another_port_of_this_machine_gets_no_request():
    with (
        WikiServer(GOOD) as inner,
        WikiServer(answer({}, status=307, headers={"Location": inner.url})) as outer,
        pytest.raises(MediaWikiError, match=inner.url.removeprefix("http://")),
    ):
        client_for(outer).call(action="query")
    assert inner.requests == []


def test_a_redirect_within_the_wiki_is_followed_with_its_parameters():
    moved = answer({}, status=301, headers={"Location": "/new/api.php?action=query&format=json"})
    with WikiServer(moved, GOOD) as server:
        assert client_for(server).call(action="query") == GOOD
    assert [path for path, *_ in server.requests] == ["/w/api.php", "/new/api.php"]
    assert server.requests[1][1] == {"action": "query", "format": "json"}


def test_the_body_of_a_redirect_is_not_read():
    def endless(handler):
        handler.send_response(302)
        handler.send_header("Location", "/new/api.php")
        handler.send_header("Content-Length", str(1 << 40))
        handler.end_headers()
        handler.wfile.write(b"x" * 1000)
        server.released.wait(30)

    with WikiServer(endless, GOOD) as server:
        assert client_for(server, read_timeout=20.0).call(action="query") == GOOD
        assert len(server.requests) == 2


def test_credentials_are_sent_to_the_wiki_and_kept_out_of_settings_and_errors():
    with WikiServer(answer({}, status=500)) as server:
        address = server.url.replace("http://", "http://bot:p%C3%A4ss-word@")
        settings = WikiSettings(f"{address}/w/api.php", interval=0.0, max_attempts=1)
        with pytest.raises(MediaWikiError) as caught:
            JsonTransport(settings).get(settings.api_url, {})
    expected = base64.b64encode("bot:päss-word".encode()).decode()
    assert server.requests[0][2]["Authorization"] == f"Basic {expected}"
    assert settings.api_url == f"{server.url}/w/api.php"
    for text in (repr(settings), str(caught.value), redact("päss-word")):
        assert "ss-word" not in text


def test_credentials_of_the_wiki_are_not_sent_to_another_server():
    with WikiServer(GOOD) as wiki, WikiServer(GOOD) as other:
        address = wiki.url.replace("//", "//bot:password-1@") + "/w/api.php"
        settings = WikiSettings(address, interval=0.0)
        JsonTransport(settings).get(other.url, {})
        JsonTransport(settings).get(settings.api_url, {})
    assert "Authorization" not in other.requests[0][2]
    assert "Authorization" in wiki.requests[0][2]
