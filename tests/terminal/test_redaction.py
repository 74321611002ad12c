"""Secrets are found and replaced, ordinary text stays."""

from __future__ import annotations

from urllib.parse import unquote

import pytest

from terminal.redaction import redact

AWS_KEY_ID = "AKIA" + "IOSFODNN7EXAMPLE"
HUGGING_FACE_TOKEN = "hf_" + "AbCdEfGhIjKlMnOpQrStUvWxYz01234567"


@pytest.mark.parametrize(
    ("text", "secret", "kept"),
    [
        (f"token {HUGGING_FACE_TOKEN} refused", HUGGING_FACE_TOKEN[3:], "refused"),
        (f"key {AWS_KEY_ID}, region eu-west-1", AWS_KEY_ID, "region eu-west-1"),
        ("ASIAY34FZKBOKMUTVV7A", "ASIAY34FZKBOKMUTVV7A", ""),
        (
            "https://b.s3.amazonaws.com/k?X-Amz-Date=2026&X-Amz-Signature=0f3ac9&x=1",
            "0f3ac9",
            "X-Amz-Date=2026",
        ),
        ("https://b/k?X-Amz-Credential=AK%2F20261124%2Feu&a=b", "AK%2F20261124", "a=b"),
        ("https://b/k?X-Amz-Security-Token=IQoJb3Jp%2F&a=b", "IQoJb3Jp", "a=b"),
        ("x-amz-security-token: IQoJb3JpZ2luX2Vj", "IQoJb3JpZ2luX2Vj", "x-amz-security-token"),
        (
            "https://b/k?AWSAccessKeyId=abc123&Signature=vjbyPxyb%3D&Expires=11",
            "vjbyPxyb",
            "Expires=11",
        ),
        ("https://b/k?AWSAccessKeyId=abc123&Expires=11", "abc123", "Expires=11"),
        ("https://acc.blob.core.windows.net/c/b?sv=2024&sig=Zm9vYmFy", "Zm9vYmFy", "sv=2024"),
        ("https://ann:s3cr3t@mirror.example/simple", "s3cr3t", "mirror.example/simple"),
        ("https://ann:p@ss@mirror.example/simple", "p@ss", "mirror.example/simple"),
        ("https://glpat-abcdef@git.example/x", "glpat-abcdef", "git.example/x"),
        ("Authorization: Bearer abc.def-ghi", "abc.def-ghi", "Authorization"),
        (
            "{'Authorization': 'Basic dXNlcjpwYXNz', 'Accept': 'text/html'}",
            "dXNlcjpwYXNz",
            "'Accept': 'text/html'",
        ),
        ("sent bearer eyJhbGciOiJIUzI1NiJ9.e30", "eyJhbGciOiJIUzI1NiJ9", "sent"),
        ("aws_secret_access_key = wJalrXUtnFEMI/K7MDENG", "wJalrXUtnFEMI", "aws_secret_access_key"),
        (
            "{'SecretAccessKey': 'wJalrXUtnFEMI', 'Expiration': 'soon'}",
            "wJalrXUtnFEMI",
            "'Expiration': 'soon'",
        ),
    ],
)
def test_patterns_of_secrets_are_redacted_and_the_rest_stays(text, secret, kept):
    clean = redact(text)
    assert secret not in clean
    assert "***" in clean
    assert kept in clean


@pytest.mark.parametrize(
    "text",
    [
        "from huggingface_hub import hf_hub_download, hf_transformers_version",
        "https://en.wikipedia.org/w/api.php?action=query&titles=Signature&format=json",
        "mail ann@example.org about https://example.org/a, or bob@example.org",
        "s3://bucket/models/qwen3@main/config.json",
        "Will the treaty receive its last signature before 2028?",
        "the tokens of 14 questions: 42,000",
        "bearer of bad news",
    ],
)
def test_ordinary_text_is_left_alone(text):
    assert redact(text) == text


@pytest.mark.parametrize(
    "name",
    [
        "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_ACCESS_KEY_ID",
        "OPENAI_API_KEY", "MIRROR_PASSWORD",
    ],
)  # fmt: skip
def test_values_of_secret_variables_are_redacted_also_inside_a_url(monkeypatch, name):
    monkeypatch.setenv(name, "plain/looking+value=")
    assert redact("a plain/looking+value= b") == "a *** b"
    assert redact("a?x=plain%2Flooking%2Bvalue%3D b") == "a?x=*** b"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HTTPS_PROXY", "http://someone:{}@127.0.0.1:3128"),
        ("https_proxy", "someone:{}@127.0.0.1:3128"),
        ("ALL_PROXY", "socks5h://{}@127.0.0.1"),
        ("HF_ENDPOINT", "https://{}@hub.example/models"),
        ("PIP_INDEX_URL", "https://someone:{}@mirror.example/simple"),
    ],
)
@pytest.mark.parametrize("secret", ["pass%20word%2Fof%23one", "a-token-alone"])
def test_what_stands_before_the_host_of_an_address_is_known_alone_too(
    monkeypatch, name, value, secret
):
    monkeypatch.setenv(name, value.format(secret))
    for form in (secret, unquote(secret)):
        assert redact(f"refused: {form!r} at {name}") == f"refused: '***' at {name}"


def test_empty_and_short_values_do_not_blank_ordinary_text(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "a")
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "a question about tokens")
    assert redact("a question about tokens") == "a question about tokens"


def test_the_longer_of_two_secrets_is_replaced_whole(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "abcdefgh")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "abcdefgh-and-more")
    assert redact("x abcdefgh-and-more y") == "x *** y"
