"""One run from configuration to MLflow, computed once for the whole module and looked at from many sides."""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from conftest import draw_folder
from fabricated import compose, folder_of, scene
from PIL import Image
from safetensors.torch import load_file

from analysis.table import main as table
from tlft.config.compose import Composer
from tlft.config.resolve import resolve
from tlft.config.schema import Config
from tlft.config.typed import to_config
from tlft.errors import ConfigurationError, NonFiniteLossError, TlftError
from tlft.records.outcome import Outcome, RunStatus
from tlft.runs import artifacts, experiment
from tlft.runs.experiment import run_experiment
from tlft.runs.identify import identify
from tlft.runs.run_names import run_name
from tlft.runtime import signals
from tlft.runtime.environment import SourceState
from tlft.tracking.claimed_run import claim_run
from tlft.tracking.client import logged_models
from tlft.tracking.entries import send
from tlft.tracking.reader import ArtifactReader, load_records
from tlft.tracking.run_folder import RunFolder
from tlft.tracking.store import Store
from tlft.training.step import Stepper


@dataclass
class Done:
    config: Config
    outcome: Outcome
    run: Any
    artifacts: Path


@pytest.fixture(scope="module")
def done(composer: Composer, tmp_path_factory: pytest.TempPathFactory, tiny_folder: Path) -> Done:
    home = tmp_path_factory.mktemp("home")
    overrides = ("data.holdout_fraction=0.25", "training.eval_every=1", "tracking.tags={who:me}", "seed=3")
    config = compose(composer, home, tiny_folder, *overrides)
    outcome = run_experiment(config, "the: configuration\n")
    run = Store(config).client.get_run(outcome.run_id)
    return Done(config, outcome, run, Path(run.info.artifact_uri.removeprefix("file://")))


def records(config: Config) -> list[Any]:
    return load_records(config.tracking.experiment, home=config.home)


def test_run_is_finished_and_named_for_people(done: Done) -> None:
    assert (done.outcome.status, done.run.info.status) == ("done", "FINISHED")
    assert done.run.info.run_name == "fine_tune s3 efficientnet_lite0 sgd"


def test_the_duration_is_the_one_that_mlflow_shows(done: Done) -> None:
    info = done.run.info
    assert done.outcome.seconds == pytest.approx((info.end_time - info.start_time) / 1000, abs=0.02)
    assert float(done.run.data.tags["tlft.seconds"]) == pytest.approx(done.outcome.seconds, abs=0.001)


def test_params_are_the_scientific_configuration(done: Done) -> None:
    (record,) = records(done.config)
    params = record.params
    assert params["optimizer.lr"] == "0.01"
    assert params["seed"] == "3"
    assert params["model.weights"].startswith("57934424")
    assert params["transform.mean"] == "[0.5, 0.5, 0.5]"
    assert not {"device", "threads", "paths.home", "tracking.uri"} & set(params)
    assert set(params) == {
        *("format", "seed", "precision", "arch.library", "arch.name", "model.name", "model.weights", "head.name"),
        "model.bn_momentum",
        *(f"transform.{name}" for name in ("resize", "crop", "interpolation", "mean", "std")),
        *(f"data.{split}" for split in ("train", "eval", "holdout")),
        *(f"training.{name}" for name in ("trainable", "epochs", "batch_size", "flip", "keep")),
        *(f"optimizer.{name}" for name in ("name", "lr", "weight_decay", "momentum", "nesterov")),
        *("schedule.name", "schedule.warmup_epochs"),
    }


def test_people_see_the_params_in_which_runs_differ_and_no_long_digests(done: Done) -> None:
    params = done.run.data.params
    assert not {name for name in params if name.startswith(("format", "transform."))}
    assert params["model.weights"].startswith("57934424")
    assert max(map(len, params.values())) < 24
    assert len(params) <= 21


def test_no_tag_that_people_see_is_json(done: Done) -> None:
    (record,) = records(done.config)
    assert record.files["weights/model.safetensors"][0] > 1000
    for name, text in done.run.data.tags.items():
        assert name.startswith("mlflow.") or not text.startswith(("{", "[")), name


def test_the_model_has_the_name_of_its_run(done: Done) -> None:
    (model,) = logged_models(Store(done.config).client, done.run.info.experiment_id, done.run.info.run_id)
    assert model.name == done.run.info.run_name


def test_machine_facts_and_the_users_words_are_tags(done: Done) -> None:
    tags = done.run.data.tags
    assert tags["who"] == "me"
    assert tags["threads"] == "1"
    assert tags["precision"] in ("float32", "bfloat16")
    assert (tags["data"], tags["column"]) == ("insects", "fine_tune")
    assert {"device", "hardware", "commit", "dirty", "host", "tlft.run_key"} <= set(tags)


def test_the_data_set_is_an_input_of_the_run(done: Done) -> None:
    inputs = {one.tags[0].value: one.dataset for one in done.run.inputs.dataset_inputs}
    assert set(inputs) == {"train", "holdout", "eval"}
    (record,) = records(done.config)
    params = record.params
    for split, dataset in inputs.items():
        assert (dataset.name, dataset.digest) == ("insects", params[f"data.{split}"][:36])
    assert json.loads(inputs["eval"].source)["uri"].endswith("insects")


def test_epochs_have_their_step_and_final_figures_are_written_once(done: Done) -> None:
    client = Store(done.config).client

    def history(name: str) -> list[int]:
        return [metric.step for metric in client.get_metric_history(done.outcome.run_id, name)]

    for name in ("train/loss", "train/accuracy", "throughput/train_images_per_second", "curve/eval_accuracy"):
        assert history(name) == [1, 2], name
    assert history("system/cpu_utilization_percentage") == [1, 2]
    finals = ("accuracy", "closed_set_accuracy", "loss", "balanced_accuracy", "macro_f1", "recall/ants", "recall/bees")
    of_holdout = ("holdout/accuracy", "holdout/balanced_accuracy")
    for name in (*(f"eval/{final}" for final in finals), *of_holdout, "time/train_seconds"):
        assert history(name) == [2], name


def test_score_is_the_holdouts(done: Done) -> None:
    assert done.outcome.score == done.outcome.metrics["holdout/accuracy"]
    assert replace(done.outcome, metrics={"eval/accuracy": 0.25}).score == 0.25


def test_predictions_have_a_row_for_each_image_and_agree_with_the_metrics(done: Done) -> None:
    frame = pd.read_parquet(done.artifacts / "predictions.parquet")
    assert list(frame.columns) == ["file", "sha256", "label", "predicted", "confidence", "p/ants", "p/bees"]
    assert len(frame) == 12
    assert frame["file"].str.startswith("val/").all()
    assert (frame["label"] == frame["predicted"]).mean() == done.outcome.metrics["eval/accuracy"]


def test_every_artifact_is_there_and_opens(done: Done) -> None:
    for name in ("gallery.png", "confusion.png", "curves.png"):
        with Image.open(done.artifacts / name) as image:
            assert min(image.size) > 200
    assert (done.artifacts / "config.yaml").read_text() == "the: configuration\n"
    assert "trained" in (done.artifacts / "layers.txt").read_text()
    environment = json.loads((done.artifacts / "environment.json").read_text())
    assert environment["packages"]["torch"]
    key = json.loads((done.artifacts / "run_key.json").read_text())
    assert key == identify(done.config).science


def test_weights_are_safetensors_of_the_trained_network(done: Done) -> None:
    state = load_file(done.artifacts / "weights" / "model.safetensors")
    assert state["classifier.weight"].shape == (2, 1280)


def test_logged_model_takes_bytes_base64_and_paths(done: Done) -> None:
    import base64

    import mlflow

    mlflow.set_tracking_uri(f"sqlite:///{done.config.home}/mlflow.db")
    (found,) = mlflow.search_logged_models(
        [done.run.info.experiment_id], filter_string=f"source_run_id = '{done.outcome.run_id}'", output_format="list"
    )
    model = mlflow.pyfunc.load_model(found.model_uri)
    frame = pd.read_parquet(done.artifacts / "predictions.parquet")
    path = Path(done.config.data.root or "") / frame["file"][0]
    given = pd.DataFrame({"image": [str(path), path.read_bytes(), base64.b64encode(path.read_bytes()).decode()]})
    answers = model.predict(given)
    assert answers["predicted"].tolist() == [frame["predicted"][0]] * 3
    assert answers["p/ants"].tolist() == pytest.approx([frame["p/ants"][0]] * 3, abs=0.02)
    assert not list(done.config.home.rglob("*.pkl"))
    weights, carried = sorted(done.config.home.rglob("*.safetensors"), key=lambda file: "models" in file.parts)
    assert weights.samefile(carried), "the model's weights take no room of their own"


def test_a_model_that_is_delivered_twice_is_one(done: Done, tmp_path: Path) -> None:
    client, experiment_id = Store(done.config).client, done.run.info.experiment_id
    (model,) = client.search_logged_models([experiment_id])
    description = json.loads(
        (Path(model.artifact_location.removeprefix("file://")) / "artifacts/model.json").read_text()
    )
    send(client, done.run, RunFolder(tmp_path), [{"model": description}])  # whose files are there no more
    assert [other.model_id for other in client.search_logged_models([experiment_id])] == [model.model_id]


def test_finished_run_is_skipped_and_its_figures_returned(done: Done, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(experiment, "_compute", lambda *args: pytest.fail("the run was done again"))
    again = run_experiment(done.config)
    assert (again.status, again.run_id) == ("skipped", done.outcome.run_id)
    assert again.metrics["eval/accuracy"] == done.outcome.metrics["eval/accuracy"]


def test_damaged_run_is_not_taken_for_done(done: Done) -> None:
    picture = done.artifacts / "gallery.png"
    content = picture.read_bytes()
    store, key = Store(done.config), identify(done.config).key
    assert store.finished(key) is not None
    picture.write_bytes(content[:-1])
    assert store.finished(key) is None
    picture.unlink()
    assert store.finished(key) is None
    picture.write_bytes(content)
    assert store.finished(key) is not None


def test_deleted_run_does_not_count(done: Done) -> None:
    store, key = Store(done.config), identify(done.config).key
    store.client.delete_run(done.outcome.run_id)
    assert store.finished(key) is None
    store.client.restore_run(done.outcome.run_id)
    assert store.finished(key) is not None


def test_run_that_another_process_holds_is_left_to_it(done: Done) -> None:
    config = replace(done.config, seed=77)
    with claim_run(Store(config), identify(config).key):
        assert run_experiment(config).status == "elsewhere"


@pytest.fixture
def small(composer: Composer, home: Path, tiny_folder: Path) -> Iterator[Config]:
    yield compose(composer, home, tiny_folder, "arch=torchvision", "arch.name=squeezenet1_1", "model=scratch")


def test_two_runs_end_with_the_same_bytes_and_force_runs_again(small: Config) -> None:
    small = replace(small, training=replace(small.training, epochs=1))
    first = run_experiment(small)
    second = run_experiment(replace(small, force=True))
    assert first.run_id != second.run_id
    one, other = (
        next((small.home / "mlruns").rglob(f"{run.run_id}/artifacts/weights/model.safetensors")).read_bytes()
        for run in (first, second)
    )
    assert one == other
    assert run_experiment(small).run_id == second.run_id


def test_nan_loss_fails_the_run_with_its_traceback(small: Config) -> None:
    small.optimizer.lr = 1e30
    with pytest.raises(NonFiniteLossError):
        run_experiment(replace(small, training=replace(small.training, epochs=20)))
    (record,) = records(small)
    assert record.status == "FAILED"
    (traceback,) = (small.home / "mlruns").rglob("traceback.txt")
    assert "NonFiniteLossError" in traceback.read_text()


@pytest.mark.parametrize("error", [KeyboardInterrupt(), signals.Stopped(143)])
def test_interrupted_run_is_killed(small: Config, monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def interrupt(*args: object) -> None:
        raise error

    monkeypatch.setattr(Stepper, "step", interrupt)
    with pytest.raises(type(error)):
        run_experiment(small)
    assert [record.status for record in records(small)] == ["KILLED"]


def test_full_disk_fails_the_run_and_leaves_earlier_ones_whole(
    done: Done, small: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = replace(small, training=replace(small.training, epochs=0))
    first = run_experiment(small)

    def full(*args: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "/full")

    monkeypatch.setattr(experiment, "write_artifacts", full)
    with pytest.raises(OSError, match="No space left"):
        run_experiment(replace(small, seed=5))
    assert [record.status for record in records(small)] == ["FINISHED", "FAILED"]
    assert run_experiment(small).run_id == first.run_id


def test_vanished_file_fails_the_run_and_is_named(
    composer: Composer, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = draw_folder(tmp_path / "insects", train=2, evaluation=2)
    config = compose(composer, home, folder, "experiment=from_scratch")
    known = identify(config)
    (folder / "train" / "ants" / "0.png").unlink()
    monkeypatch.setattr(experiment, "identify", lambda *arguments: known)  # it vanishes once it was looked at
    with pytest.raises(TlftError, match=r"0\.png"):
        run_experiment(config)
    assert [record.status for record in records(config)] == ["FAILED"]


def test_truncated_image_is_an_error_or_skipped_and_counted(composer: Composer, home: Path, tmp_path: Path) -> None:
    folder = draw_folder(tmp_path / "insects", train=2, evaluation=2)
    picture = folder / "train" / "ants" / "0.png"
    picture.write_bytes(picture.read_bytes()[:100])
    config = compose(composer, home, folder, "head=task", "training.trainable=none")
    with pytest.raises(TlftError, match=r"0\.png.*data\.on_bad_image=skip"):
        run_experiment(config)
    config.data.on_bad_image = "skip"
    run_experiment(config)
    assert records(config)[-1].tags["skipped_images"] == "1"


def test_groups_and_origin_reach_the_table(
    composer: Composer, home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = draw_folder(tmp_path / "insects", train=2, evaluation=6)
    for path in sorted((folder / "val").rglob("*.png")):
        path.rename(path.with_name(f"{path.parent.name}{int(path.stem) // 2}_{path.stem}.png"))
    for path in sorted((folder / "train").rglob("*.png")):
        path.rename(path.with_name(f"train{path.parent.name}{path.stem}_0.png"))
    given = ("data=imagefolder", "head=task", "training.trainable=none", "data.origin=drawn by a test")
    alone = compose(composer, home, folder, *given)
    run_experiment(alone)
    monkeypatch.setenv("TLFT_HOME", str(home))
    pattern = "([a-z0-9]+)_"
    assert table(["--columns", "all"]) == 0
    assert "groups" not in capsys.readouterr().out
    assert table(["--columns", "all", "--group", pattern]) == 0
    assert "12 evaluation images in 6 groups" in capsys.readouterr().out
    grouped = compose(composer, home, folder, *given, f"data.group='{pattern}'", "force=true")
    assert identify(grouped).key == identify(alone).key
    run_experiment(grouped)
    frame = ArtifactReader(home=home).predictions(records(grouped))[records(grouped)[-1].run_id]
    assert sorted(set(frame["group"])) == ["ants0", "ants1", "ants2", "bees0", "bees1", "bees2"]
    assert table(["--columns", "all"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "12 evaluation images in 6 groups" in shown
    assert "drawn by a test." in shown


def test_near_duplicates_may_be_groups(composer: Composer, home: Path, tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "scenes", {"val/ants/copy.jpg": scene(300)})  # of val/ants/0.png
    given = ("data=imagefolder", "head=task", "training.trainable=none", "data.group=near_duplicates")
    config = compose(composer, home, folder, *given)
    run_experiment(config)
    groups = (
        ArtifactReader(home=home).predictions(records(config))[records(config)[-1].run_id].set_index("file")["group"]
    )
    assert groups["val/ants/0.png"] == groups["val/ants/copy.jpg"]
    assert groups.nunique() == len(groups) - 1


def test_debug_takes_two_batches_in_an_experiment_of_its_own(small: Config) -> None:
    outcome = run_experiment(resolve(replace(small, debug=True)))
    assert records(small) == []
    (record,) = load_records("tlft-debug", home=small.home)
    assert record.tags["debug"] == "true"
    assert len(pd.read_parquet(next((small.home / "mlruns").rglob("predictions.parquet")))) == 12
    assert run_experiment(resolve(replace(small, debug=True))).run_id != outcome.run_id


def test_without_weights_neither_file_nor_model_is_kept(small: Config) -> None:
    small.tracking.weights = False
    run_experiment(replace(small, training=replace(small.training, epochs=0)))
    assert not list(small.home.rglob("*.safetensors"))
    assert not list(small.home.rglob("MLmodel"))


def test_deleted_experiment_is_said(small: Config) -> None:
    store = Store(small)
    store.client.delete_experiment(store.experiment_id)
    with pytest.raises(ConfigurationError, match="was deleted; restore it"):
        run_experiment(small)


def test_names_tell_runs_apart(composer: Composer) -> None:
    def name(*overrides: str) -> str:
        return run_name(resolve(to_config(composer.compose(list(overrides)))))

    assert name("seed=3") == "fine_tune s3 resnet50 sgd"
    assert name("experiment=zero_shot") == "zero_shot resnet50"
    assert name("experiment=linear_probe", "optimizer=adam") == "linear_probe s0 resnet50 adam"
    assert name("experiment=from_scratch", "arch=efficientnet_lite0") == "from_scratch s0 efficientnet_lite0 sgd"


def test_a_logged_run_is_evaluated_on_another_folder_as_a_run(
    composer: Composer, tmp_path: Path, tiny_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trained = run_experiment(compose(composer, tmp_path, tiny_folder, "training.epochs=2"))
    flat = tmp_path / "others"
    for path in draw_folder(tmp_path / "drawn", train=5, evaluation=3, size=44).glob("*/*/*.png"):
        (flat / path.parent.name).mkdir(parents=True, exist_ok=True)
        path.rename(flat / path.parent.name / f"{path.parent.parent.name}{path.name}")
    evaluate = ("experiment=evaluate", f"model.run_id={trained.run_id}", "data.eval_fraction=1")
    outcome = run_experiment(compose(composer, tmp_path, flat, *evaluate))
    assert outcome.name == "evaluated efficientnet_lite0"
    again = run_experiment(compose(composer, tmp_path, flat, *evaluate, "seed=1"))
    assert (again.run_id, again.status) == (outcome.run_id, RunStatus.SKIPPED)
    (record,) = (one for one in load_records("tlft", home=tmp_path) if one.run_id == outcome.run_id)
    frame = ArtifactReader(home=tmp_path).predictions([record])[record.run_id]
    assert len(frame) == 16
    assert "train/loss" not in record.metrics
    assert outcome.metrics["eval/accuracy"] == (frame["predicted"] == frame["label"]).mean()
    shutil.rmtree(flat / "bees")
    shutil.copytree(flat / "ants", flat / "wasps")
    for path in (flat / "wasps").iterdir():
        Image.open(path).rotate(90).save(path)
    with pytest.raises(ConfigurationError, match=r"its classes \(ants, bees\) are not those of others \(ants, wasps\)"):
        run_experiment(compose(composer, tmp_path, flat, *evaluate))


@pytest.fixture(scope="module")
def chain(composer: Composer, tmp_path_factory: pytest.TempPathFactory, tiny_folder: Path) -> tuple[Path, Outcome]:
    """Return a home, and a run in it that starts from one on other images."""
    home = tmp_path_factory.mktemp("chain")
    first = run_experiment(compose(composer, home, tiny_folder, "training.trainable=head", "training.epochs=1"))
    others = draw_folder(home / "others", train=2, evaluation=2, size=48)
    start = ("model=run", f"model.run_id={first.run_id}", "training.trainable=head", "training.epochs=1")
    return home, run_experiment(compose(composer, home, others, *start))


def seen_before(composer: Composer, chain: tuple[Path, Outcome], folder: Path) -> str:
    """Evaluate the last run of the chain on all images of a folder, and return what is kept of those that it knows."""
    home, last = chain
    evaluate = ("experiment=evaluate", f"model.run_id={last.run_id}", "data.eval_fraction=1")
    outcome = run_experiment(compose(composer, home, folder, *evaluate))
    (record,) = (one for one in load_records("tlft", home=home) if one.run_id == outcome.run_id)
    return record.tags.get("seen_before", "")


def test_a_network_that_is_judged_on_training_images_of_its_ancestors_says_so(
    composer: Composer,
    chain: tuple[Path, Outcome],
    tmp_path: Path,
    tiny_folder: Path,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    unknown = draw_folder(tmp_path / "unknown", train=0, evaluation=3, size=52) / "val"
    assert seen_before(composer, chain, unknown) == ""
    for name in ("ants", "bees"):
        shutil.copy(tiny_folder / "train" / name / "0.png", unknown / name / "a copy.png")
    for number in (0, 1):  # one whose copy is evaluated too, and one of which there is none
        with Image.open(tiny_folder / f"train/ants/{number}.png") as image:
            image.point([min(255, value + 6) for value in range(256)] * 3).save(unknown / f"ants/brighter{number}.png")
    said = seen_before(composer, chain, unknown)
    by_whom = f"by run {chain[1].run_id[:8]} or those that it starts from"
    assert said.startswith(f"2 of 10 evaluation images were trained on before, {by_whom} (ants/a copy.png, bees/a copy")
    assert "; 2 of 10 evaluation images are nearly the same as such images (" in said
    for number in (0, 1):
        assert f"ants/brighter{number}.png and train/ants/{number}.png" in said
    assert said.endswith("; that flatters the network")
    assert f"val: {said}" in caplog.text
    capsys.readouterr()
    monkeypatch.setenv("TLFT_HOME", str(chain[0]))
    table(["--columns", "all"])
    assert said in " ".join(capsys.readouterr().out.split())


def test_where_a_parent_does_not_tell_its_training_images_that_is_said(
    composer: Composer, chain: tuple[Path, Outcome], tmp_path: Path
) -> None:
    """As runs of an earlier version do not; nor does then a run that starts from this one."""
    home, last = chain
    (kept,) = (home / "mlruns").rglob(f"{last.run_id}/artifacts/training_images.parquet")
    assert len(pd.read_parquet(kept)) == 16 + 4
    kept.rename(tmp_path / "kept")
    try:
        unknown = draw_folder(tmp_path / "unknown", train=0, evaluation=2, size=56) / "val"
        assert "cannot be told: it keeps no list of its training images" in seen_before(composer, chain, unknown)
        frame = pd.read_parquet(tmp_path / "kept")
        frame.assign(sha256=[f"{number:064}" for number in range(len(frame))], folder="/gone").to_parquet(kept)
        unknown = draw_folder(tmp_path / "others", train=0, evaluation=2, size=57) / "val"
        said = seen_before(composer, chain, unknown)
        assert said.startswith("whether evaluation images are nearly the same as what was trained on before, by run ")
        kept.write_bytes(b"damaged")
        unknown = draw_folder(tmp_path / "more", train=0, evaluation=2, size=58) / "val"
        assert "cannot be told: it keeps no list of its training images" in seen_before(composer, chain, unknown)
        assert len(list((home / "mlruns").rglob("training_images.parquet"))) < len(load_records("tlft", home=home))
    finally:
        (tmp_path / "kept").rename(kept)


@pytest.mark.parametrize("kept", [True, False])
def test_changes_to_the_code_are_kept_unless_somebody_says_no(
    composer: Composer, home: Path, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch, kept: bool
) -> None:
    state = SourceState("c" * 40, True, "a change")
    for module in (experiment, artifacts):
        monkeypatch.setattr(module, "source_state", lambda: state)
    untrained = ("training.epochs=0", "tracking.weights=false", f"tracking.source={str(kept).lower()}")
    outcome = run_experiment(compose(composer, home, tiny_folder, *untrained))
    (record,) = load_records("tlft", home=home)
    assert (record.run_id, record.tags["commit"], record.tags["dirty"]) == (outcome.run_id, state.commit, "true")
    assert ArtifactReader(home=home).text(record, "git.diff") == ("a change" if kept else "")


def test_a_run_starts_from_another_its_head_too(
    composer: Composer, tmp_path: Path, tiny_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """LP-FT: a linear probe, then all of the network from there."""
    probe = run_experiment(compose(composer, tmp_path, tiny_folder, "training.trainable=head", "training.epochs=2"))
    start = ("model=run", f"model.run_id={probe.run_id}")
    untouched = run_experiment(compose(composer, tmp_path, tiny_folder, *start, "training.trainable=none"))
    assert untouched.metrics["eval/accuracy"] == probe.metrics["eval/accuracy"]
    assert untouched.metrics["eval/loss"] == pytest.approx(probe.metrics["eval/loss"], abs=1e-5)
    tuned = run_experiment(compose(composer, tmp_path, tiny_folder, *start, "training.epochs=1"))
    fresh = run_experiment(
        compose(composer, tmp_path, tiny_folder, *start, "model.keep_head=false", "training.epochs=1")
    )
    found = {record.run_id: record for record in load_records("tlft", home=tmp_path)}
    keys = {found[outcome.run_id].key for outcome in (probe, untouched, tuned, fresh)}
    assert len(keys) == 4
    assert found[tuned.run_id].params["model.weights"] == found[fresh.run_id].params["model.weights"]
    assert found[tuned.run_id].params["model.head"] == "kept"
    assert "model.head" not in found[fresh.run_id].params
    assert found[tuned.run_id].tags["weights"] == f"run {probe.run_id[:8]}"


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["model.run_id=00000000"], "model.run_id=00000000: no such run in "),
        (["arch=resnet18"], "is of tf_efficientnet_lite0, not resnet18; set arch=timm arch.name=tf_efficientnet_lite0"),
        (
            ["data.root={other}"],
            "model.keep_head=true: its classes (ants, bees) are not those of other (bees, wasps); set",
        ),
    ],
)
def test_a_run_that_cannot_be_started_from_is_one_line(
    composer: Composer, done: Done, tmp_path: Path, overrides: list[str], said: str
) -> None:
    other = tmp_path / "other"
    for name, colour in {"train/bees": "red", "train/wasps": "blue", "val/bees": "pink", "val/wasps": "navy"}.items():
        (other / name).mkdir(parents=True)
        Image.new("RGB", (40, 40), colour).save(other / name / "0.png")
    start = ["model=run", f"model.run_id={done.outcome.run_id[:8]}", *[text.format(other=other) for text in overrides]]
    folder = Path(str(done.config.data.root))
    with pytest.raises(ConfigurationError) as raised:
        identify(compose(composer, done.config.home, folder, *start))
    (problem,) = raised.value.problems
    assert said in problem
