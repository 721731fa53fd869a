"""Settings: where they come from, and that every fault is told at once."""

from pathlib import Path

import msgspec
import pytest

from collector.config import ROLES, Settings, load, variable
from collector.errors import Misconfigured


def faults_of(options: dict[str, object] | None = None, **environ: str) -> list[str]:
    with pytest.raises(Misconfigured) as caught:
        load(options or {}, environ)
    return caught.value.faults


def test_without_anything_the_defaults_of_the_contract_hold() -> None:
    settings = load({}, {})
    assert (settings.database_url, settings.host) == (None, "127.0.0.1")
    assert (settings.grpc_port, settings.http_port) == (4317, 4318)
    assert (settings.auth, settings.workers, settings.roles) == ("auto", 1, ROLES)
    assert (settings.reasoner, settings.resolved_reasoner) == ("auto", "rules")
    assert (settings.reasoner_concurrency, settings.reasoner_settle_ms) == (4, 2000)
    assert (settings.reasoner_budget_usd_per_day, settings.retention_days) == (None, 30)


def test_an_option_wins_over_the_environment() -> None:
    settings = load({"http_port": "1", "host": None}, {"XRAY_HTTP_PORT": "2", "XRAY_GRPC_PORT": "3"})
    assert (settings.http_port, settings.grpc_port, settings.host) == (1, 3, "127.0.0.1")


def test_an_empty_variable_means_the_default() -> None:
    assert load({}, {"XRAY_DATABASE_URL": "", "XRAY_HTTP_PORT": ""}).http_port == 4318


def test_every_setting_can_be_given_as_text() -> None:
    texts = {
        *{("database_url", "postgresql://a@b/c"), ("data_dir", "/data"), ("roles", "receive, serve")},
        *{("migrate", "off"), ("reasoner_budget_usd_per_day", "1.5"), ("cors_origins", "https://a,https://b")},
    }
    settings = load({}, {variable(name): text for name, text in texts})
    assert settings.data_dir == Path("/data")
    assert settings.roles == ("receive", "serve")
    assert settings.migrate is False
    assert settings.reasoner_budget_usd_per_day == 1.5
    assert settings.cors_origins == ("https://a", "https://b")


def test_the_data_folder_follows_xdg(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", "/elsewhere")
    assert load({}, {}).data_dir == Path("/elsewhere/xray")


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, "rules"),
        ({"OPENAI_API_KEY": "k"}, "openai"),
        ({"OPENAI_BASE_URL": "http://127.0.0.1:1"}, "openai"),
        ({"OPENAI_API_KEY": "k", "XRAY_REASONER": "rules"}, "rules"),
        ({"OPENAI_API_KEY": "k", "XRAY_REASONER": "off"}, "off"),
    ],
)
def test_auto_is_the_model_where_an_endpoint_is_set(environ: dict[str, str], expected: str) -> None:
    assert load({}, environ).resolved_reasoner == expected


def test_all_faults_are_told_at_once_by_the_name_that_was_used() -> None:
    options = {"http_port": "many", "retention_days": -1}
    faults = faults_of(options, XRAY_WORKERS="0", XRAY_REASONER="magic", XRAY_MIGRATE="perhaps")
    told = " ".join(faults)
    assert len(faults) == 5
    for word in ("--http-port='many'", "XRAY_RETENTION_DAYS=-1", "XRAY_WORKERS=0", "XRAY_REASONER", "XRAY_MIGRATE"):
        assert word in told


@pytest.mark.parametrize(
    ("environ", "word"),
    [
        ({"XRAY_GRPC_PORT": "70000"}, "between 0 and 65535"),
        ({"XRAY_GRPC_PORT": "4318"}, "different ports"),
        ({"XRAY_ROLES": "receive,dance"}, "XRAY_ROLES"),
        ({"XRAY_DATABASE_URL": "mysql://a"}, "postgresql://"),
        ({"XRAY_REASONER": "openai"}, "OPENAI_API_KEY"),
        ({"XRAY_HOST": "0.0.0.0"}, "XRAY_AUTH=off"),
        ({"XRAY_TLS_CERT": "/a.pem"}, "belong together"),
        ({"XRAY_REASONER_BUDGET_USD_PER_DAY": "much"}, "XRAY_REASONER_BUDGET_USD_PER_DAY='much': must be a number"),
        ({"XRAY_REASONER_BUDGET_USD_PER_DAY": "nan"}, "must be 0 or more"),
        ({"XRAY_REASONER_TIMEOUT_MS": "0"}, "must be 1 or more"),
        ({"XRAY_WORKERS": "two"}, "must be a whole number"),
        ({"XRAY_LOG_LEVEL": "loud"}, "possible are debug, info, warning, error"),
        ({"XRAY_ROLES": "cook"}, "possible are receive, reason, serve, export"),
        ({"OPENAI_BASE_URL": "localhost:11434"}, "http://"),
        ({"XRAY_CORS_ORIGINS": "https://a,b"}, "'b'"),
        ({"XRAY_REASONER_REDACT_PATTERNS": "("}, "no regular expression"),
    ],
)
def test_each_fault_says_what_is_wrong(environ: dict[str, str], word: str) -> None:
    faults = faults_of(**environ)
    assert len(faults) == 1
    assert word in faults[0]


def test_both_ports_may_be_picked() -> None:
    settings = load({}, {"XRAY_GRPC_PORT": "0", "XRAY_HTTP_PORT": "0"})
    assert (settings.grpc_port, settings.http_port) == (0, 0)


def test_settings_are_frozen() -> None:
    with pytest.raises(AttributeError):
        load({}, {}).host = "x"
    assert {field.name for field in msgspec.structs.fields(Settings)}


def test_keys_that_nothing_would_check_are_not_promised() -> None:
    with pytest.raises(Misconfigured, match="XRAY_AUTH=on asks for API keys"):
        load({}, {"XRAY_AUTH": "on"})
