"""A password in an address is kept out of all that is said or written, and known to whoever connects."""

from __future__ import annotations

import pytest
from omegaconf import OmegaConf

from tlft.config.addresses import VARIABLE, hide_password, hide_passwords, whole_address
from tlft.errors import ConfigurationError, TlftError, one_line, without_passwords

SECRET = "s3cr%21t"


@pytest.mark.parametrize(
    ("address", "hidden"),
    [
        ("postgresql://u:{}@h/db", "postgresql://u:***@h/db"),
        ("postgresql+psycopg://u:a/{}@h:5432/db?x=1", "postgresql+psycopg://u:***@h:5432/db?x=1"),
        ("postgresql://u:a@{}@h/db", "postgresql://u:***@h/db"),
        ("postgresql://u:a {}@h/db", "postgresql://u:***@h/db"),
        ("mysql+pymysql://:{}@h/db", "mysql+pymysql://:***@h/db"),
        ("postgresql://h/db?user=u&password={}&sslmode=require", "postgresql://h/db?user=u&password=***&sslmode=require"),
        ("mssql+pyodbc:///?odbc_connect=UID%3Du%3BPWD%3D{}%3BX%3D1", "mssql+pyodbc:///?odbc_connect=UID%3Du%3BPWD%3D***%3BX%3D1"),
        ("http://u:{}@h:5000", "http://***@h:5000"),
        ("http://u:a/{}@h:5000", "http://***@h:5000"),
        ("https://{}@h", "https://***@h"),
        ("http://u:a@{}@h:5000/x", "http://***@h:5000/x"),
        ("HTTP://u:{}@h", "HTTP://***@h"),
        ("Postgresql://u:{}@h/db", "Postgresql://u:***@h/db"),
        ("mssql+pyodbc:///?odbc_connect=PWD%3D{}%3BX%3D1", "mssql+pyodbc:///?odbc_connect=PWD%3D***%3BX%3D1"),
    ],
)  # fmt: skip
def test_a_password_is_hidden_wherever_it_stands_in_an_address(
    address: str, hidden: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    whole = address.format(SECRET)
    assert without_passwords(whole) == hidden
    assert without_passwords(hidden) == hidden
    assert SECRET not in str(TlftError(f"tracking.uri={whole}: no"))
    assert SECRET not in str(ConfigurationError([f"tracking.uri={whole}: no"]).problems)
    assert SECRET not in one_line(f"could not reach '{whole}', so no")
    assert SECRET not in without_passwords(f"{{a: 1, uri: '{whole}'}}\nand \"{whole}\"")
    assert hide_password(whole) == hidden
    assert whole_address(hidden) == whole


@pytest.mark.parametrize(
    "text",
    [
        "sqlite:////home/a:b@c/mlflow.db",
        "http://127.0.0.1:5000",
        "http://127.0.0.1:5000/#/experiments/1 of a@b",
        "postgresql+psycopg:///mlflow",
        "postgresql://user@host:5432/db",
        "models:/insects@champion",
        "see https://example.com/@somebody",
        "user:password@host",
        "s3://bucket/key: not there; ask a@b",
        "'postgresql://user@host:5432/db' is away; ask 'a@b'",
        "http://host/runs?filter=a@b",
    ],
)
def test_what_holds_no_password_stays_as_it_is(text: str) -> None:
    assert without_passwords(text) == text
    assert whole_address(text) == text


def test_a_password_that_is_known_nowhere_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    with pytest.raises(ConfigurationError, match=r"set MLFLOW_TRACKING_URI to the whole address"):
        whole_address("postgresql://u:***@elsewhere/db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql://u:new@elsewhere/db")
    assert whole_address("postgresql://u:***@elsewhere/db") == "postgresql://u:new@elsewhere/db"


def test_a_composed_configuration_loses_its_passwords_also_in_lists_and_interpolations(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ADDRESS", f"postgresql://u:{SECRET}@h/db")
    cfg = OmegaConf.create(
        {
            "tracking": {"uri": "${oc.env:ADDRESS}", "tags": None},
            "hydra": {"overrides": {"task": [f"tracking.uri=postgresql://u:{SECRET}@h/db", "seed=1"]}},
            "missing": "???",
        }
    )
    OmegaConf.set_readonly(cfg.hydra, True)
    assert SECRET not in OmegaConf.to_yaml(hide_passwords(cfg), resolve=True)
    assert cfg.hydra.overrides.task[1] == "seed=1"
    assert whole_address(cfg.tracking.uri) == f"postgresql://u:{SECRET}@h/db"
