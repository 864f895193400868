"""Runs of folds are joined by what they have in common, and their measures by what these are of."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from fabricated import FINE_TUNE, ZERO_SHOT, predict, run

from analysis.comparison_table import build_table
from analysis.footnotes import footnotes
from tlft.names import Artifact, Param, Tag
from tlft.records.folds import Fold, join_folds
from tlft.records.record import Record

OF = 2


def of_fold(number: int, record: Record, came_to: str = "", of: int = OF, **tags: str) -> Record:
    """Make a run that of a fold, and perhaps one that has come to some weights."""
    files = {Tag.FILES: json.dumps({Artifact.WEIGHTS: [1, came_to]})} if came_to else {}
    fold = {Tag.FOLD: Fold(number, of, "images", "training").to_text()}
    params = record.params | {Param.DATA_EVAL: f"eval of {number}", Param.DATA_TRAIN: f"train of {number}"}
    images = record.metrics | {"eval/images": 30.0}
    return replace(record, key=record.run_id, tags=record.tags | fold | files | tags, params=params, metrics=images)


def tuned(number: int, parent: str, **tags: str) -> Record:
    return of_fold(number, run(FINE_TUNE, model__weights=parent), "", OF, **tags)


def joined(*records: Record) -> list[int]:
    """Return of how many runs each record is that stands in the place of all folds."""
    return [len(record.parts or ()) for record in join_folds(records, records)[0] if record.parts]


def test_each_fold_may_start_from_its_own_run_of_one_cross_validation() -> None:
    probes = [of_fold(number, run(FINE_TUNE), f"weights {number}") for number in range(OF)]
    again = [of_fold(number, run(FINE_TUNE, model__weights=f"weights {number}"), f"more {number}") for number in (0, 1)]
    last = [tuned(number, f"more {number}", **{Tag.WEIGHTS: f"run {number}"}) for number in range(OF)]
    assert joined(*probes, *again, *last) == [OF, OF, OF]
    *_, whole = join_folds([*probes, *again, *last], [*probes, *again, *last])[0]
    assert whole.tags[Tag.WEIGHTS] == "run 0 and its other folds"
    assert whole.params[Param.WEIGHTS] == "more 0more 1"


@pytest.mark.parametrize(
    "parents",
    [
        [of_fold(0, run(FINE_TUNE), "weights 0"), of_fold(1, run(FINE_TUNE, optimizer__lr="0.1"), "weights 1")],
        [of_fold(1, run(FINE_TUNE), "weights 0"), of_fold(0, run(FINE_TUNE), "weights 1")],
        [of_fold(0, run(FINE_TUNE), "weights 0", 3), of_fold(1, run(FINE_TUNE), "weights 1", 3)],
        [replace(run(FINE_TUNE), tags={}), of_fold(1, run(FINE_TUNE), "weights 1")],
    ],
    ids=["another recipe", "the other fold", "other folds", "no folds"],
)
def test_folds_whose_parents_are_not_those_of_one_cross_validation_are_apart(parents: list[Record]) -> None:
    children = [tuned(number, f"weights {number}") for number in range(OF)]
    records = [*parents, *children]
    assert {record.run_id for record in children} <= {record.run_id for record in join_folds(records, records)[1]}


def test_weights_that_a_run_leaves_as_they_are_do_not_lead_in_a_circle() -> None:
    evaluated = [
        of_fold(number, run(FINE_TUNE, model__weights=f"same {number}"), f"same {number}") for number in (0, 1)
    ]
    assert joined(*evaluated) == []


def test_what_must_be_known_of_any_fold_is_said() -> None:
    tags = ({"commit": "1234567"}, {"skipped_images": "3", "commit": "89abcde"})
    notes = " ".join(
        footnotes(build_table([of_fold(n, run(FINE_TUNE), "", OF, **each) for n, each in enumerate(tags)]))
    )
    assert "photos: images skipped as unreadable: 3." in notes
    assert "Code: 1234567, 89abcde." in notes


def test_measures_are_of_all_images_of_the_networks_or_not_there() -> None:
    frames = [predict(20, images=30), predict(30, images=50).iloc[30:].assign(predicted="fly")]
    one, two = (of_fold(number, run(ZERO_SHOT)) for number in range(OF))
    measured = {"eval/recall/bees": 0.0, "eval/macro_f1": 0.0, "eval/of_tomorrow": 1.0, "train/loss": 2.0}
    one = replace(one, metrics=measured | {"eval/images": 30.0, "eval/accuracy": 2 / 3})
    two = replace(two, metrics=measured | {"eval/images": 20.0, "eval/accuracy": 0.0, "train/loss": 5.0})
    given = {record.run_id: frame for record, frame in zip((one, two), frames, strict=True)}
    (whole,), _ = join_folds([one, two], (), given)
    assert whole.metrics == {
        "eval/images": 50.0,
        "eval/accuracy": pytest.approx(20 / 50),
        "eval/recall/bees": 10 / 25,
        "eval/macro_f1": pytest.approx(2 * 10 / (25 + 15)),
        "train/loss": 3.5,
    }
    (without,), _ = join_folds([one, two], (), {one.run_id: frames[0]})
    assert without.metrics.keys() == {"eval/images", "eval/accuracy", "train/loss"}
    uncounted = [replace(record, metrics={"eval/accuracy": 0.5}) for record in (one, two)]
    assert join_folds(uncounted)[0][0].metrics == {}
