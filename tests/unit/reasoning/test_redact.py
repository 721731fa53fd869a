"""What leaves for a model holds no secrets, and everything else stays as it is."""

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.reasoning.redact import Redactor, redact_json, redact_text
from collector.reasoning.secret_forms import is_card

KEY = "-----BEGIN RSA PRIVATE KEY-----\nMIIEowIBAAKCAQEA7bq\nabcdefgh\n-----END RSA PRIVATE KEY-----"


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("use sk-proj-abcDEF1234567890abcd now", "abcDEF1234567890"),
        ("sk-ant-api03-AbCdEf_0123456789-xyz", "AbCdEf"),
        ("id AKIAIOSFODNN7EXAMPLE", "IOSFODNN7"),
        ("AWS_SECRET_ACCESS_KEY=wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "wJalr"),
        ("postgresql://joe:s3cr3t@db:5432/shop", "s3cr3t"),
        ("redis://:pw12@cache:1/0", "pw12"),
        ("mongodb+srv://u:p%40ss@cluster.example.net", "p%40ss"),
        ("write to jane.doe+x@example.co.uk!", "jane.doe"),
        ("card 4111 1111 1111 1111 please", "4111"),
        ("card 5500-0055-5555-5559.", "5500"),
        ("Authorization: Bearer abcdefghijklmnop123", "abcdefghij"),
        ("curl -H 'authorization: basic dXNlcjpwYXNzd29yZA=='", "dXNlcjpw"),
        ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.SflKxwRJSM", "eyJzdWIi"),
        ("ghp_0123456789abcdefghijABCDEFGHIJ012345", "0123456789"),
        ("xoxb-123456789012-abcdefghijkl", "abcdefghijkl"),
        ("AIzaSyA-1234567890abcdefghijklmnopqrstu", "1234567890"),
        ("sk_live_0123456789abcdefABCDEF", "0123456789"),
        ("hf_abcdefghijklmnopqrstuvwxyz", "abcdefghij"),
        ("https://hooks.slack.com/services/T00000000/B00000000/XXXXXXXXXXXXXXXXXXXXXXXX", "XXXXXX"),
        ("password=hunter22&page=1", "hunter22"),
        ('{"db_password": "correct horse"}', "correct"),
        ("client-secret: abcd-efgh", "abcd-efgh"),
        ("https://b.example/x?X-Amz-Signature=3ff27d9b7501ae9eec48ba4d2459b6b2", "3ff27d9b"),
        ("the client's 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", "eWG3GtJS"),
        ("xapp-1-A3EFVKMDDEI-123456-d43aa84320518d9b4be7e5f0", "d43aa843"),
        ("github_pat_9IcIjxK32mFE1he4OMmkjJ_TiM1dI0w38fT8dY1M", "9IcIjxK3"),
        ("api:key-557bfcf37dcc15dffb545f4802449f94", "557bfcf3"),
        ("UGi8Q~rPwm2fHLkv7wRMksKnokRlpWjXjdICYabcd", "rPwm2fHL"),
        ("api.telegram.org/bot123456789:AANPnzTljHVu4ZX7m1dyYEJOWYhjjRfpU8fxy/sendMessage", "NPnzTljH"),
        ("X-Vault-Token: hvs.NV6RV4Rs12r7JU8NPjxrPPgDN0fg", "NV6RV4Rs"),
        ("ntn_F0gdfu8SNZc80JqUk87SubCkXqHZfV6J", "F0gdfu8S"),
        ("Ocp-Apim-Subscription-Key: 3bce93bdc75d774560123196e9778dbe", "3bce93bd"),
        ("Authorization: Token ArFk178bgi7AZ1YrJC680X4eOuqI", "ArFk178b"),
        ("authorization=Bearer%20xYKgYXljtN6GQXjeFQT0", "xYKgYXlj"),
        ('Authorization: Digest username="joe", response="6629fae49393a053"', "6629fae4"),
        ("Set-Cookie: session=abcdef0123456789; Path=/", "abcdef0123"),
        ("postgresql://app:ab+xY/9zQ@q2@db:5432/x", "9zQ@q2"),
        ("mysql -u root -pzIkmE9TQDtyrvB shop", "zIkmE9TQ"),
        ("curl -u admin:nSPcVR9KdX4JmV0 https://example.com", "nSPcVR9K"),
        ("DB_PASS=UzAZxp9wCxzKbyV", "UzAZxp9w"),
        ("deploy --password Zx81kkPq77aa --force", "Zx81kkPq"),
        ("my password is Zx81kkPq77aa, thanks", "Zx81kkPq"),
        ("password => Zx81kkPq77aa", "Zx81kkPq"),
        ("<password>Zx81kkPq77aa</password>", "Zx81kkPq"),
        ('{"password":["Zx81kkPq77aa", "b"]}', "Zx81kkPq"),
        ('{"credentials":{"user":"a","pass":"Zx81kkPq77aa"}}', "Zx81kkPq"),
        ("ENCRYPTION_KEY_BASE64=Zx81kkPq77aa", "Zx81kkPq"),
        ("pay to DE89 3704 0044 0532 0130 00 please", "0532"),
        ("call +49 170 1234567 or (415) 555-2671", "1234567"),
        ("call +49 170 1234567 or (415) 555-2671", "555-2671"),
        ("SSN 078-05-1120", "078-05"),
        (KEY, "MIIE"),
        (KEY[:60], "MIIE"),
        (KEY[40:], "abcdefgh"),
        (KEY.replace("\n", "\\n"), "abcdefgh"),
    ],
)
def test_secrets_go(text: str, secret: str) -> None:
    assert secret in text
    assert secret not in redact_text(text)
    assert secret not in redact_json(json.dumps({"said": [text]}))
    assert "[REDACTED:" in redact_text(text)


@pytest.mark.parametrize(
    "text",
    [
        'max_tokens=500, tokens: 1234, token_count: 12, "total_tokens":128',
        "1699999999123456789 is a time, 4bf92f3577b34da6a3ce929d0e0e4736 a trace id",
        "4111 1111 1111 1112 fails its check",
        "https://example.com/a:b@c and http://localhost:4318/v1/traces",
        "finish_reason: max_tokens; secret: null; password: None",
        "The quick brown fox asks: what is a token?",
        "SELECT * FROM users WHERE id = 7",
        '{"n":1.0,"big":123456789012345678901234567890,"nan":"NaN"}',
        "version 2.0.0-rc.1+build.5, order 4000000000",
        "Basic authentication is needed; password: required; the token is missing",
        "the password must be at least 8 characters, the API key: not found",
        "DE00 3704 0044 0532 0130 00 fails its check, 2026-11-26T05:16:00.123+00:00 is a time",
        "http://localhost:8080/users/@me and session_id=chat-123, cookie policy: strict",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert redact_text(text) == text


def test_json_keeps_its_form_and_loses_the_values_of_telling_names() -> None:
    given = (
        '{ "n": 1.0,"big":123456789012345678901234567890, "password" : "a b \\"c\\"", "l":["x"],"max_tokens":"auto"}'
    )
    assert redact_json(given) == given.replace('"a b \\"c\\""', '"[REDACTED:secret]"')


def test_all_of_a_list_go_where_its_name_tells() -> None:
    given = '{"secrets": ["x1", "y2"], "max_tokens": ["3"], "open": ["z"]}'
    assert json.loads(redact_json(given)) == {"secrets": ["[REDACTED:secret]"] * 2, "max_tokens": ["3"], "open": ["z"]}


def test_own_patterns_go_first() -> None:
    assert redact_text("order KD-4711 of jane@example.com", [r"KD-\d+"]) == "order [REDACTED:own] of [REDACTED:email]"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.sampled_from(["password", "token"]), inner),
)


@given(JSON)
def test_redacted_json_is_json_of_the_same_shape(value: object) -> None:
    text = json.dumps(value)
    again = json.loads(redact_json(text))
    assert type(again) is type(value)
    assert json.loads(redact_json(redact_json(text))) == again


LONG = {
    "word": "a" * 200_000,
    "dashes": "a-" * 100_000,
    "base64": "QUJD" * 50_000,
    "digits": "4 " * 100_000,
    "addresses": "http://" * 30_000,
    "names": "password" * 25_000,
    "keys": "-----BEGIN PRIVATE KEY-----" * 5_000,
    "lines": ("QUJDREVGR0hJSktM" * 4 + "\n") * 3_000,
    "mail": "a@" * 100_000,
    "assignments": "token=" * 30_000,
    "members": '"password":' * 20_000,
    "quotes": '"\\"' * 50_000,
}


@pytest.mark.parametrize("text", LONG.values(), ids=LONG)
def test_no_text_makes_it_slow(text: str) -> None:
    redactor, began = Redactor(), time.process_time()
    redactor.text(text)
    redactor.json(text)
    assert time.process_time() - began < 3


@pytest.mark.parametrize(("digits", "good"), [("4111111111111111", True), ("4111111111111112", False), ("42", False)])
def test_cards_are_checked(digits: str, good: bool) -> None:
    assert is_card(digits) is good
