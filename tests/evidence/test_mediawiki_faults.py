"""The wiki client against a server that really misbehaves: manners, retries, bounds, as-of."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

import pytest

from evidence import transport
from evidence.as_of import FutureRevisionError
from evidence.mediawiki import MAX_CONTINUATIONS, MediaWikiClient
from evidence.settings import WikiSettings
from evidence.transport import JsonTransport, MediaWikiError, OfflineError, parse_retry_after
from tests.support.wiki_server import Clock, WikiServer, answer, truncated

GOOD = {"query": {"pages": []}, "batchcomplete": True}
NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)


def settings_for(server, **changes):
    settings = WikiSettings(
        f"{server.url}/w/api.php",
        contact="desk@example.org",
        interval=0.0,
    )
    return replace(settings, **changes)


def client_for(server, **changes):
    """A client whose waiting takes no time; its clock is ``client.transport.clock``."""
    settings = settings_for(server, **changes)
    clock = Clock()
    transport = JsonTransport(settings, clock=clock, sleep=clock.sleep, now=lambda: NOW)
    return MediaWikiClient(settings, transport=transport)


def reset(handler):
    """Break the connection off before any answer."""
    handler.connection.shutdown(socket.SHUT_RDWR)
    handler.close_connection = True


def waited(client):
    return sum(client.transport.clock.slept)


def page(text, *, timestamp="2025-05-01T00:00:00Z", title="Paris", revision=7, **more):
    content = {"contentmodel": "wikitext", "content": text}
    revisions = [{"revid": revision, "timestamp": timestamp, "slots": {"main": content}, **more}]
    return {"query": {"pages": [{"title": title, "revisions": revisions}]}, "batchcomplete": True}


# --- manners ---------------------------------------------------------------------------------------


def test_one_user_agent_with_the_contact_gzip_and_maxlag_in_every_request():
    with WikiServer(answer(GOOD, zipped=True)) as server:
        client = client_for(server)
        assert client.call(action="query") == GOOD
        client.call(action="query")
    agents = {headers["User-Agent"] for _, _, headers in server.requests}
    assert len(agents) == 1
    assert "Forecaster/" in agents.pop()
    for _, parameters, headers in server.requests:
        assert "desk@example.org" in headers["User-Agent"]
        assert headers["Accept-Encoding"] == "gzip"
        assert parameters["maxlag"] == "5"
        assert (parameters["format"], parameters["formatversion"]) == ("json", "2")


def test_requests_are_serial_whoever_asks():
    def slow(handler):
        threading.Event().wait(0.02)
        answer(GOOD)(handler)

    with WikiServer(slow) as server:
        client = client_for(server)
        threads = [
            threading.Thread(target=client.call, kwargs={"action": "query"}) for _ in range(6)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(server.requests) == 6
    assert server.most_together == 1


@pytest.mark.parametrize(("contact", "seconds"), [("desk@example.org", 0.3), ("", 6.0)])
def test_requests_are_paced_by_whether_there_is_a_contact(contact, seconds):
    with WikiServer(GOOD) as server:
        client = client_for(server, contact=contact, interval=None)
        for _ in range(4):
            client.call(action="query")
    assert waited(client) == pytest.approx(3 * seconds)


@pytest.mark.parametrize(
    ("header", "seconds"), [("7", 7), ("Tue, 24 Nov 2026 12:00:40 GMT", 40), (None, 1), ("soon", 1)]
)
@pytest.mark.parametrize("kind", ["maxlag", "429"])
def test_retry_after_is_kept_in_both_forms(kind, header, seconds):
    headers = {"Retry-After": header} if header else {}
    refusal = (
        answer({"error": {"code": "maxlag", "info": "Waiting for a server"}}, headers=headers)
        if kind == "maxlag"
        else answer({}, status=429, headers=headers)
    )
    with WikiServer(refusal, GOOD) as server:
        client = client_for(server)
        assert client.call(action="query") == GOOD
    assert waited(client) == pytest.approx(seconds)
    assert len(server.requests) == 2


def test_a_wait_beyond_the_cap_means_offline_not_coming_back_early():
    with WikiServer(answer({}, status=503, headers={"Retry-After": "3600"})) as server:
        client = client_for(server)
        with pytest.raises(OfflineError, match=r"asks to wait 3600 s \(limit 60 s\)"):
            client.call(action="query")
        with pytest.raises(OfflineError):
            client.call(action="query")
    assert len(server.requests) == 1
    assert waited(client) == 0


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0),
        ("12", 12),
        (" 3 ", 3),
        ("Tue, 24 Nov 2026 12:01:00 GMT", 60),
        ("Tue, 24 Nov 2026 11:00:00 GMT", 0),
        ("", None),
        (None, None),
        ("-5", None),
        ("tomorrow", None),
    ],
)
def test_parse_retry_after(value, seconds):
    assert parse_retry_after(value, NOW) == seconds


# --- faults ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fault",
    [
        truncated(page("x" * 500)),
        answer(b"<html>Our servers are busy</html>"),
        answer(b"[1, 2]"),
        answer(b""),
        answer({}, status=500),
        answer({}, status=502),
        answer({"error": {"code": "ratelimited"}}),
        answer({"error": {"code": "internal_api_error_DBQueryError"}}),
        answer(b"not gzip at all", headers={"Content-Encoding": "gzip"}),
        reset,
    ],
    ids=[
        "truncated",
        "html",
        "array",
        "empty",
        "500",
        "502",
        "ratelimited",
        "internal",
        "gzip",
        "reset",
    ],
)
def test_a_passing_fault_is_tried_again(fault):
    with WikiServer(fault, fault, GOOD) as server:
        client = client_for(server)
        assert client.call(action="query") == GOOD
    assert len(server.requests) == 3
    assert waited(client) == pytest.approx(1 + 2)


def test_a_server_that_never_answers_costs_its_tries_and_no_more():
    with WikiServer(lambda handler: server.released.wait(30)) as server:
        client = client_for(server, read_timeout=0.1, max_attempts=3, offline_after=1)
        with pytest.raises(OfflineError, match="no answer within the read timeout"):
            client.call(action="query")
    assert len(server.requests) == 3


def test_an_answer_that_drips_is_cut_off():
    def drip(handler):
        handler.send_response(200)
        handler.send_header("Content-Length", "1000000")
        handler.end_headers()
        for _ in range(20):
            handler.wfile.write(b" " * 50_000)

    with WikiServer(drip) as server:
        client = client_for(server, max_attempts=1)
        ticks = iter(range(0, 10_000, 40))
        client.transport.clock = lambda: next(ticks)
        with pytest.raises(MediaWikiError, match="took longer than 60 s"):
            client.call(action="query")


def test_a_few_bytes_at_a_time_do_not_hide_the_clock():
    clock = Clock()
    with WikiServer() as server:

        def drip(handler):
            handler.send_response(200)
            handler.send_header("Content-Length", "1000000")
            handler.end_headers()
            clock.time += 61
            handler.wfile.write(b" ")
            server.released.wait()  # far less than a full buffer, then nothing

        server.script = [drip]
        client = client_for(server, max_attempts=1, read_timeout=0.5)
        client.transport.clock = clock
        with pytest.raises(MediaWikiError, match="took longer than 60 s"):
            client.call(action="query")


def test_no_more_than_the_byte_cap_is_read_also_when_it_was_compressed():
    for zipped in (False, True):
        with WikiServer(answer(page("x" * 2_000_000), zipped=zipped)) as server:
            client = client_for(server, max_bytes=1_000_000)
            with pytest.raises(
                MediaWikiError, match=r"larger than WIKIPEDIA_MAX_BYTES \(1000000\)"
            ):
                client.call(action="query")
        assert len(server.requests) == 1


@pytest.mark.parametrize("status", [401, 403, 407])
def test_a_wiki_that_wants_no_requests_gets_two_and_then_none(status):
    with WikiServer(answer({}, status=status)) as server:
        client = client_for(server)
        for expected in (MediaWikiError, OfflineError, OfflineError):
            with pytest.raises(expected, match=f"HTTP {status}, access refused"):
                client.search("Paris", 5)
    assert len(server.requests) == 2


@pytest.mark.parametrize("status", [400, 403, 414])
def test_a_refusal_is_not_asked_again(status):
    with (
        WikiServer(answer({}, status=status)) as server,
        pytest.raises(MediaWikiError, match=f"HTTP {status}"),
    ):
        client_for(server).call(action="query")
    assert len(server.requests) == 1


def test_an_error_of_the_wiki_is_one_line():
    error = {"error": {"code": "badvalue", "info": "Unrecognized\nvalue " + "x" * 900}}
    with WikiServer(error) as server, pytest.raises(MediaWikiError) as caught:
        client_for(server).call(action="query")
    assert "badvalue" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


def test_redirects_in_a_circle_end():
    circle = answer({}, status=302, headers={"Location": "/w/api.php"})
    with WikiServer(circle) as server, pytest.raises(MediaWikiError, match="redirects in a circle"):
        client_for(server).call(action="query")
    assert len(server.requests) == 4


def test_offline_after_a_bounded_number_of_requests_and_then_none():
    with WikiServer(answer({}, status=500)) as server:
        client = client_for(server, max_attempts=3, offline_after=2)
        with pytest.raises(MediaWikiError):
            client.call(action="query")
        assert client.offline_reason is None
        with pytest.raises(OfflineError):
            client.call(action="query")
        assert len(server.requests) == 6
        for _ in range(5):
            with pytest.raises(OfflineError, match="HTTP 500"):
                client.call(action="query")
    assert len(server.requests) == 6


def test_a_success_between_failures_keeps_it_online():
    bad = answer({}, status=500)
    with WikiServer(bad, GOOD, bad, GOOD) as server:
        client = client_for(server, max_attempts=1, offline_after=2)
        for _ in range(2):
            with pytest.raises(MediaWikiError):
                client.call(action="query")
            client.call(action="query")
    assert client.offline_reason is None


@pytest.mark.parametrize("contact", ["", "desk@example.org"])
def test_without_a_network_it_is_offline_at_once(contact):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]  # bound, not listening: connections are refused
        for host in (f"127.0.0.1:{port}", "wiki.invalid"):
            settings = WikiSettings(f"http://{host}/w/api.php", contact=contact)
            clock = Clock()
            client = MediaWikiClient(
                settings, transport=JsonTransport(settings, clock=clock, sleep=clock.sleep)
            )
            with pytest.raises(OfflineError, match="no connection"):
                client.call(action="query")
            assert sum(clock.slept) <= 2


PROXIES = [f"{name}_proxy" for name in ("http", "https", "all", "no")]


@pytest.fixture
def environment(monkeypatch):
    """Sets variables of the environment, from which no proxy is left over."""
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    return monkeypatch.setenv


def given_up(url):
    """The one line with which a wiki that was never reached is given up, after two tries and hardly any waiting."""
    settings = WikiSettings(url, contact="desk@example.org", read_timeout=5)
    clock = Clock()
    transport = JsonTransport(settings, clock=clock, sleep=clock.sleep)
    tries = []
    once = transport._get_once
    transport._get_once = lambda *arguments: tries.append(1) or once(*arguments)
    with pytest.raises(OfflineError) as caught:
        MediaWikiClient(settings, transport=transport).call(
            action="query", token="secret-parameter"
        )
    assert len(tries) == 2
    assert sum(clock.slept) <= 2
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize(
    ("proxy", "reason"),
    [
        (
            "http://user:secret@127.0.0.1:{closed}",
            "no connection through the proxy that HTTPS_PROXY",
        ),
        (
            "http:///",
            "the proxy that HTTPS_PROXY, HTTP_PROXY or ALL_PROXY names is not a usable address",
        ),
        ("ftp://127.0.0.1:{closed}", "is not a usable address"),
    ],
)
def test_a_proxy_that_is_none_is_named(environment, scheme, proxy, reason):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        environment(f"{scheme}_proxy", proxy.format(closed=taken.getsockname()[1]))
        assert reason in given_up(f"{scheme}://wiki.invalid/w/api.php")


def test_a_proxy_that_opens_no_tunnel_is_named_with_its_status(environment):
    def refuse(handler):
        handler.send_error(407, "Proxy Authentication Required")

    with WikiServer(GOOD) as server:
        server.server.RequestHandlerClass.do_CONNECT = refuse
        environment("https_proxy", server.url)
        assert "names refuses with HTTP 407" in given_up("https://wiki.invalid/w/api.php")


def certificate(folder):
    """A self-signed certificate for 127.0.0.1 and its key, as one PEM file."""
    x509 = pytest.importorskip("cryptography.x509", reason="not installed: cryptography")
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "loopback")])
    today = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(today - timedelta(days=1))
        .not_valid_after(today + timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    form = (
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    path = folder / "certificate.pem"
    path.write_bytes(key.private_bytes(*form) + made.public_bytes(form[0]))
    return path


def test_a_certificate_is_trusted_only_when_it_is_named(environment, tmp_path):
    path = certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    with WikiServer(GOOD) as server:
        server.server.socket = context.wrap_socket(server.server.socket, server_side=True)
        url = server.url.replace("http://", "https://") + "/w/api.php"
        assert "name its certificate in REQUESTS_CA_BUNDLE" in given_up(url)
        assert server.requests == []
        environment("REQUESTS_CA_BUNDLE", str(path))
        assert MediaWikiClient(WikiSettings(url, interval=0.0)).call(action="query") == GOOD


def test_a_server_without_tls_is_no_tls_connection(environment):
    with WikiServer(GOOD) as server:
        assert "no TLS connection" in given_up(
            server.url.replace("http://", "https://") + "/w/api.php"
        )


def test_a_host_that_answers_no_connecting_is_given_up_after_two_timeouts(environment, monkeypatch):
    """A listener whose queue is full: the kernel leaves further connections without an answer."""
    monkeypatch.setattr(transport, "CONNECT_TIMEOUT_SECONDS", 0.2)
    with socket.socket() as listener, contextlib.ExitStack() as waiting:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(3):
            client = waiting.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(listener.getsockname())
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/w/api.php"
        assert "no connection within the connect timeout" in given_up(url)


def test_no_address_or_parameter_stands_in_an_error():
    with (
        WikiServer(reset) as server,
        pytest.raises(MediaWikiError) as caught,
    ):
        client_for(server, max_attempts=1).call(action="query", token="secret-parameter")
    assert "secret-parameter" not in str(caught.value)
    assert "api.php" not in str(caught.value)


# --- continuations ---------------------------------------------------------------------------------


def test_a_continue_token_that_repeats_ends_the_query(caplog):
    with WikiServer({"query": {"pages": []}, "continue": {"gsroffset": 5}}) as server:
        assert len(list(client_for(server).query(generator="search"))) == 2
    assert "repeats a continue token" in caplog.text


def test_a_query_that_never_ends_is_cut_off(caplog):
    number = iter(range(1000))

    def endless(handler):
        answer({"query": {}, "continue": {"gsroffset": next(number)}})(handler)

    with WikiServer(endless) as server:
        assert len(list(client_for(server).query(generator="search"))) == MAX_CONTINUATIONS
    assert "did not end" in caplog.text


def test_continuations_carry_the_token_and_the_parameters():
    with WikiServer({"query": {}, "continue": {"gsroffset": 5, "continue": "-||"}}, GOOD) as server:
        list(client_for(server).query(generator="search", gsrsearch="Paris"))
    (_, first, _), (_, second, _) = server.requests
    assert "gsroffset" not in first
    assert (second["gsroffset"], second["continue"], second["gsrsearch"]) == ("5", "-||", "Paris")


# --- search ----------------------------------------------------------------------------------------


def test_hits_come_in_the_wikis_ranking_once_each_with_disambiguation_marked():
    pages = [
        {
            "title": "C",
            "index": 3,
            "revisions": [{"revid": 30, "timestamp": "2026-01-01T00:00:00Z"}],
        },
        {"title": "A", "index": 1, "pageprops": {"disambiguation": ""}},
        {"title": "Gone", "index": 2, "missing": True},
    ]
    more = [{"title": "B", "index": 2}, {"title": "A", "index": 1}]
    with WikiServer(
        {"query": {"pages": pages}, "continue": {"gsroffset": 3}}, {"query": {"pages": more}}
    ) as server:
        hits = client_for(server).search("mercury", 5)
    assert [(hit.title, hit.disambiguation) for hit in hits] == [
        ("A", True),
        ("B", False),
        ("C", False),
    ]
    assert hits[2].revision_id == "30"


def test_search_operators_in_a_question_are_words():
    with WikiServer(GOOD) as server:
        client = client_for(server)
        client.search('-"insource:/x/" intitle:Paris OR (a|b) ~2030?', 5)
        assert client.search(' "?" ', 5) == []
        client.search("word " * 200, 5)
    sent = [parameters["gsrsearch"] for _, parameters, _ in server.requests]
    assert len(sent) == 2
    assert not set('":()|~?') & set(sent[0])
    assert not any(word.startswith("-") for word in sent[0].split())
    assert len(sent[1]) <= 250


@pytest.mark.parametrize(
    "text", ["日本銀行は政策金利を引き上げるか" * 40, "क्या भारत की जनसंख्या " * 40, "x" * 900]
)
def test_a_search_is_never_longer_than_engines_take(text):
    with WikiServer(GOOD) as server:
        client_for(server).search(text, 5)
    (sent,) = [parameters["gsrsearch"] for _, parameters, _ in server.requests]
    assert text.startswith(sent)
    assert 200 < len(sent.encode()) <= 250


@pytest.mark.parametrize("name", ["", "x" * 256, "é" * 128])
def test_titles_that_no_page_can_have_are_no_pages(name):
    with WikiServer(
        {"query": {"pages": [{"title": name, "index": 1}]}, "batchcomplete": True}
    ) as server:
        assert client_for(server).search("mercury", 5) == []
    with WikiServer(page("Text.", title=name)) as server:
        assert client_for(server).article("Paris") is None
    if name:
        with WikiServer(page("Text.", revision=name)) as server:
            assert client_for(server).article("Paris") is None


# --- one revision, as of a date --------------------------------------------------------------------

AS_OF = "2025-06-01T00:00:00Z"


def test_the_date_goes_to_the_wiki_and_the_text_is_that_revisions():
    with WikiServer(page("Text of May.")) as server:
        article = client_for(server).article("Paris", as_of=AS_OF)
    (_, parameters, _) = server.requests[0]
    assert (parameters["rvstart"], parameters["rvdir"], parameters["rvlimit"]) == (
        AS_OF,
        "older",
        "1",
    )
    assert "extracts" not in parameters["prop"]
    assert (article.text, article.timestamp) == ("Text of May.", "2025-05-01T00:00:00Z")
    assert article.url.endswith("/w/index.php?oldid=7")


@pytest.mark.parametrize(
    "timestamp",
    [
        "2025-06-01T00:00:01Z",
        "2026-01-01T00:00:00Z",
        "",
        "yesterday",
        "2024",
        "2024-13-45T99:00:00Z",
        "2025-02-29T00:00:00Z",
        "٢٠٢٤-01-01T00:00:00Z",
    ],
)
def test_a_wiki_that_serves_the_future_is_refused(timestamp):
    with (
        WikiServer(page("Text.", timestamp=timestamp)) as server,
        pytest.raises(FutureRevisionError, match="it is not used"),
    ):
        client_for(server).article("Paris", as_of=AS_OF)


@pytest.mark.parametrize(
    "reply",
    [
        {"query": {"pages": [{"title": "Paris", "missing": True}]}},
        {"query": {"pages": [{"title": "Paris"}]}},  # not created yet at that date
        {"query": {"pages": [{"title": "<", "invalid": True}]}},
        {"query": {"pages": []}},
        {"query": {}},
        {},
        page("", texthidden=True)
        | {
            "query": {
                "pages": [
                    {
                        "title": "P",
                        "revisions": [
                            {
                                "revid": 1,
                                "timestamp": "2025-01-01T00:00:00Z",
                                "slots": {"main": {"texthidden": True}},
                            }
                        ],
                    }
                ]
            }
        },
    ],
)
def test_no_page_no_text(reply):
    with WikiServer(reply) as server:
        assert client_for(server).article("Paris", as_of=AS_OF) is None


def test_a_redirect_is_followed_as_it_stood_then_and_a_loop_is_left():
    with WikiServer(
        page("#REDIRECT [[Paris, France#History]]", title="City of Light"),
        {"query": {}},
        page("Text."),
    ) as server:
        assert client_for(server).article("City of Light", as_of=AS_OF).text == "Text."
    assert [p.get("titles") for _, p, _ in server.requests] == [
        "City of Light",
        None,
        "Paris, France",
    ]
    assert server.requests[-1][1]["rvstart"] == AS_OF
    a, b = page("#REDIRECT [[B]]", title="A"), page("#REDIRECT [[A]]", title="B")
    with WikiServer(a, {"query": {}}, b, a) as server:
        assert client_for(server).article("A") is None
    assert len(server.requests) == 3
