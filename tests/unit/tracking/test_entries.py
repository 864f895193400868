"""What the store refuses for good does not hold back what follows, and is not lost; what is away is waited for."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests
from conftest import Configure
from mlflow.exceptions import MlflowException, RestException
from mlflow.protos.databricks_pb2 import (
    BAD_REQUEST,
    INTERNAL_ERROR,
    INVALID_PARAMETER_VALUE,
    PERMISSION_DENIED,
    REQUEST_LIMIT_EXCEEDED,
    TEMPORARILY_UNAVAILABLE,
)
from mlflow.utils.validation import _validate_logged_model_name

from tlft import sync
from tlft.config.schema import Config
from tlft.records.record import Record
from tlft.tracking.active_run import ActiveRun, RefusedError
from tlft.tracking.claimed_run import claim_run
from tlft.tracking.entries import halves, is_refusal
from tlft.tracking.pyfunc_model import model_name
from tlft.tracking.reader import load_records
from tlft.tracking.store import Store

KEY = "9" * 64
TOO_LONG = "eval/recall/" + "a" * 240


@pytest.fixture
def config(configure: Configure) -> Config:
    return configure()


@contextmanager
def begun(config: Config, tags: dict[str, str] | None = None) -> Iterator[ActiveRun]:
    with claim_run(Store(config), KEY) as claim:
        assert claim.outcome is None
        with claim.start("a run", {"seed": "0"}, tags or {}) as run:
            yield run


def only(config: Config) -> Record:
    (record,) = load_records("tlft", home=config.home)
    return record


def refused_of(record: Record) -> list[dict[str, object]]:
    file = Path(record.artifacts.removeprefix("file://")) / "refused.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()]


def answer(status: int) -> requests.HTTPError:
    response = requests.Response()
    response.status_code = status
    return requests.HTTPError("no", response=response)


def caused(error: MlflowException, cause: Exception) -> MlflowException:
    error.__cause__ = cause
    return error


REFUSALS = [
    MlflowException("Metric name has length 252", INVALID_PARAMETER_VALUE),
    MlflowException("(psycopg.DataError) PostgreSQL text fields cannot contain NUL", BAD_REQUEST),
    MlflowException(
        "API request to endpoint /x failed with error code 413 != 200. Response body: '<html>'", INTERNAL_ERROR
    ),
    RestException({"error_code": "INVALID_PARAMETER_VALUE", "message": "is too long"}),  # type: ignore[no-untyped-call]
    caused(MlflowException("x", INTERNAL_ERROR), UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates not allowed")),
    answer(413),
]
ABSENCES = [
    MlflowException("database is locked", TEMPORARILY_UNAVAILABLE),
    MlflowException("QueuePool limit of size 5 reached, connection timed out", BAD_REQUEST),
    MlflowException("something", INTERNAL_ERROR),
    MlflowException("slowly", REQUEST_LIMIT_EXCEEDED),
    MlflowException("no right", PERMISSION_DENIED),
    MlflowException("API request to endpoint /x failed with error code 404 != 200. Response body: 'maintenance'"),
    MlflowException("API request to endpoint /x failed with error code 502 != 200. Response body: ''"),
    requests.ConnectionError("refused"),
    answer(503),
    answer(429),
    TimeoutError(),
    OSError(28, "No space left on device"),
]


@pytest.mark.parametrize("error", REFUSALS, ids=str)
def test_an_answer_about_the_entry_is_a_refusal(error: Exception) -> None:
    assert is_refusal(error)


@pytest.mark.parametrize("error", ABSENCES, ids=repr)
def test_what_tells_of_the_store_or_the_way_to_it_is_none(error: Exception) -> None:
    assert not is_refusal(error)


def test_two_halves_come_to_the_whole() -> None:
    assert halves({"tags": {"a": "1", "b": "2", "c": "3"}}) == [{"tags": {"a": "1"}}, {"tags": {"b": "2", "c": "3"}}]
    assert halves({"metrics": {"a": 1.0}, "step": 1, "time": 2}) == []
    assert halves({"model": {"a": 1, "b": 2}}) == []


def test_params_that_people_do_not_see_are_read_with_the_others(config: Config) -> None:
    params = {"format": "1", "seed": "0", "data.eval": "e" * 64, "transform.mean": "[0.5, 0.5, 0.5]"}
    params |= {"optimizer.beta1": "0.9", "optimizer.beta2": "0.99", "optimizer.eps": "1e-08"}  # one is set
    with claim_run(Store(config), KEY) as claim, claim.start("a run", params, {}) as run:
        pass
    assert only(config).params == params
    assert run._client.get_run(run.run_id).data.params == {
        "seed": "0",
        "data.eval": "e" * 12,
        "optimizer.beta2": "0.99",
    }


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("fine_tune s0 resnet50 sgd", "fine_tune s0 resnet50 sgd"),
        ("zero_shot vit_base.augreg_in1k", "zero_shot vit_base_augreg_in1k"),
        ('a/b: "50 %"', "a_b_ _50 _"),
        ("...", "_"),
        ("", "model"),
        ("x" * 400, "x" * 250),
    ],
)
def test_a_model_is_called_as_its_run_as_far_as_mlflow_allows(name: str, expected: str) -> None:
    assert model_name(name) == expected
    _validate_logged_model_name(expected)


def test_what_is_refused_is_put_aside_and_named_and_all_else_arrives(
    config: Config, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    with begun(config, {"fine": "yes", "wordy": "x" * 9000}) as run:
        run.log_metrics({"eval/accuracy": 0.9, TOO_LONG: 0.5, "eval/loss": 0.1}, step=3)
        run.log_model({"classes": None})  # no description of a model
        run.log_metrics({"eval/macro_f1": 0.8}, step=3)
    record = only(config)
    assert record.status == "FINISHED"
    assert record.metrics == {"eval/accuracy": 0.9, "eval/loss": 0.1, "eval/macro_f1": 0.8}
    assert record.tags["fine"] == "yes"
    assert record.tags["refused"].startswith("3: tag wordy, metric eval/recall/aaaaa")
    assert record.tags["refused"].endswith("..., the logged model")
    assert [line["entry"] for line in refused_of(record)][1] == {
        "metrics": {TOO_LONG: 0.5},
        "step": 3,
        "time": pytest.approx(1e12, 1),
    }
    said = [record.message for record in caplog.records if "refuses" in record.message]
    assert len(said) == 3
    assert "exceeded length limit" in said[1] or "length" in said[1]
    assert sync.main([]) == 0
    assert "nothing waits" in capsys.readouterr().out


def test_a_thousand_classes_have_their_figures_in_one_step(config: Config) -> None:
    with begun(config) as run:
        run.log_metrics({f"eval/recall/{index}": 0.5 for index in range(1100)}, step=1)
    assert len(only(config).metrics) == 1100


def test_what_was_put_aside_twice_is_there_once(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process was killed between the two, or the store went away."""
    with begun(config) as run:
        with monkeypatch.context() as patch:
            patch.setattr(run._client, "set_tag", lambda *_: (_ for _ in ()).throw(OSError("away")))
            run.log_metrics({TOO_LONG: 0.5}, step=3)
            assert not run.deliver(at_once=True)
        assert run.journal.waiting == 1
    assert len(refused_of(only(config))) == 1
    assert only(config).status == "FINISHED"


def test_a_store_that_is_away_refuses_nothing(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    with begun(config) as run, monkeypatch.context() as patch:
        for name in ("log_batch", "set_terminated", "get_run"):
            patch.setattr(run._client, name, lambda *_, **__: (_ for _ in ()).throw(REFUSALS[0]))
        run.log_metrics({"eval/loss": 0.5}, step=3)
        assert not run.deliver(at_once=True)
    assert only(config).metrics == {"eval/loss": 0.5}


def test_a_setting_that_is_refused_ends_the_run_before_anything_is_computed(config: Config) -> None:
    """Without its params a run would stand in a wrong row of the table."""
    with (
        claim_run(Store(config), KEY) as claim,
        pytest.raises(RefusedError, match=r"refuses param data\.name \(.*\), without which the run is not complete"),
        claim.start("a run", {"data.name": "x" * 7000, "seed": "0"}, {}),
    ):
        pytest.fail("the run has begun")
    assert only(config).status == "FAILED"


def test_files_that_are_refused_fail_the_run_until_the_store_takes_them(
    config: Config, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As a proxy does that takes no large bodies."""
    from mlflow import MlflowClient

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "log_artifacts", lambda *_, **__: (_ for _ in ()).throw(answer(413)))
        with pytest.raises(RefusedError, match="refuses its files"), begun(config) as run:
            with run.writing_files() as folder:
                (folder / "config.yaml").write_text("seed: 0")
            run.log_metrics({"eval/accuracy": 0.9})
        assert only(config).status == "FAILED"
        assert sync.main([]) == 1
        assert "refuses its files" in capsys.readouterr().out
    assert sync.main([]) == 0
    assert only(config).status == "FINISHED"
    assert only(config).metrics == {"eval/accuracy": 0.9}
