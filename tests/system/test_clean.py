"""What nobody needs any more, and what is deleted of it."""

from __future__ import annotations

import errno
import logging
import os
import shutil
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import PIL
import pytest
from conftest import Configure, files_in
from filelock import FileLock
from killing import KEY, begun
from mlflow_database import newer_database
from PIL import Image

from tlft import clean, sync
from tlft.config.schema import Config
from tlft.errors import TlftError
from tlft.pixels.cache import warn_of_caches
from tlft.pixels.pixel_store import decode_images
from tlft.pixels.transforms import Transform
from tlft.pixels.versions import feature_versions
from tlft.runtime.claims import Claim
from tlft.runtime.garbage import STALE_SECONDS
from tlft.storage import locks
from tlft.storage.checked_json import write_checked
from tlft.storage.files import sha256_of
from tlft.storage.records import RecordStore, last_used, shards_of
from tlft.tracking.active_run import ActiveRun
from tlft.tracking.reader import load_records
from tlft.tracking.store import Store


@pytest.fixture
def config(configure: Configure) -> Config:
    return configure()


def interrupted(config: Config, key: str = KEY) -> ActiveRun:
    """Begin a run that leaves a checkpoint of 1000 bytes."""
    with pytest.raises(KeyboardInterrupt), begun(config, key) as run:
        run.folder.checkpoints.mkdir()
        (run.folder.checkpoints / "last.safetensors").write_bytes(bytes(1000))
        raise KeyboardInterrupt
    return run


def finished(config: Config, key: str = KEY) -> ActiveRun:
    """Do a run that leaves two files."""
    with begun(config, key) as run, run.writing_files() as folder:
        (folder / "weights").mkdir()
        (folder / "weights" / "model.safetensors").write_bytes(bytes(1000))
        (folder / "layers.txt").write_text("layers")
    return run


def delete_for_good(config: Config, run_id: str) -> None:
    """Do to a run what `mlflow gc` does."""
    Store(config).client._tracking_client.store._hard_delete_run(run_id)


def said_by(capsys: pytest.CaptureFixture[str], *arguments: str, status: int = 0) -> str:
    assert clean.main(arguments) == status
    return capsys.readouterr().out


@pytest.mark.parametrize(
    ("what", "said"), [("finished", "is finished"), ("deleted", "was deleted"), ("diverged", "has diverged")]
)
def test_a_checkpoint_that_no_run_goes_on_from_is_deleted_when_asked_for(
    config: Config, capsys: pytest.CaptureFixture[str], what: str, said: str
) -> None:
    run = interrupted(config)
    client = Store(config).client
    if what == "finished":
        client.set_terminated(run.run_id, "FINISHED")
    elif what == "deleted":
        client.delete_run(run.run_id)
    else:
        client.set_tag(run.run_id, "tlft.diverged", "true")
    before = files_in(config.home / "checkpoints")
    out = said_by(capsys)
    assert f"run {run.run_id} {said}" in out
    assert "1 to delete" in out
    assert "--yes deletes" in out
    assert files_in(config.home / "checkpoints") == before != []
    assert "deleted 1, " in said_by(capsys, "--yes")
    assert files_in(config.home / "checkpoints") == []
    assert "nothing to delete" in said_by(capsys)


def test_a_checkpoint_that_names_no_run_is_an_orphan(config: Config, capsys: pytest.CaptureFixture[str]) -> None:
    run = interrupted(config)
    (run.folder.path / "run.json").unlink()
    assert "names no run" in said_by(capsys, "--yes")
    assert not run.folder.path.exists()


def test_a_checkpoint_whose_run_is_gone_for_good_is_an_orphan(
    config: Config, capsys: pytest.CaptureFixture[str]
) -> None:
    run = interrupted(config)
    delete_for_good(config, run.run_id)
    assert "is gone from MLflow" in said_by(capsys, "--yes")
    assert not run.folder.path.exists()


def test_the_checkpoint_of_an_unfinished_run_stays(config: Config, capsys: pytest.CaptureFixture[str]) -> None:
    run = interrupted(config)
    assert "nothing to delete" in said_by(capsys, "--yes")
    with begun(config) as again:
        assert again.run_id == run.run_id


def test_a_checkpoint_that_somebody_works_on_stays(config: Config, capsys: pytest.CaptureFixture[str]) -> None:
    run = interrupted(config)
    Store(config).client.delete_run(run.run_id)
    claim = Claim(config.home / "cache" / "locks", run.folder.path.name)
    assert claim.acquire()
    assert "nothing to delete" in said_by(capsys, "--yes")
    assert run.folder.path.exists()
    claim.release()
    assert "deleted 1" in said_by(capsys, "--yes")


@pytest.mark.parametrize("deleted", [False, True])
def test_what_was_not_delivered_stays_and_how_it_is_saved_is_said(
    config: Config, capsys: pytest.CaptureFixture[str], deleted: bool
) -> None:
    run = interrupted(config)
    run.log_metrics({"eval/accuracy": 0.9}, step=3)
    client = Store(config).client
    client.set_terminated(run.run_id, "FINISHED")
    if deleted:
        client.delete_run(run.run_id)
    out = said_by(capsys, "--yes")
    assert "1 entries are not delivered" in out
    assert "python -m tlft.sync first" in out
    assert ("mlflow runs restore" in out) == deleted
    assert run.folder.path.exists()


def test_a_checkpoint_whose_server_is_away_stays(config: Config, capsys: pytest.CaptureFixture[str]) -> None:
    run = interrupted(config)
    run.folder.remember(run_id=run.run_id, uri="http://127.0.0.1:9")
    assert "cannot be looked up" in said_by(capsys, "--yes")
    assert run.folder.path.exists()


def test_without_a_database_checkpoints_stay_and_none_is_made(
    config: Config, capsys: pytest.CaptureFixture[str]
) -> None:
    run = interrupted(config)
    for path in config.home.glob("mlflow.db*"):
        path.unlink()
    assert "cannot be looked up" in said_by(capsys, "--yes")
    assert run.folder.path.exists()
    assert not (config.home / "mlflow.db").exists()


def test_files_of_a_deleted_run_are_deleted_and_its_figures_stay(
    config: Config, capsys: pytest.CaptureFixture[str]
) -> None:
    kept, gone = finished(config, "a" * 64), finished(config, "b" * 64)
    client = Store(config).client
    client.delete_run(gone.run_id)
    out = said_by(capsys)
    assert f"run {gone.run_id} (a run) was deleted; restored, it has its figures and no files" in out
    assert kept.run_id not in out
    assert "deleted 1, " in said_by(capsys, "--yes")
    mlruns = config.home / "mlruns" / "tlft"
    assert [path.name for path in mlruns.iterdir()] == [kept.run_id]
    client.restore_run(gone.run_id)
    assert client.get_run(gone.run_id).data.params == {"seed": "0"}
    assert Store(config).finished("a" * 64) is not None
    assert Store(config).finished("b" * 64) is None


def test_files_of_a_deleted_experiment_are_those_of_deleted_runs(
    config: Config, capsys: pytest.CaptureFixture[str]
) -> None:
    run = finished(config)
    store = Store(config)
    store.client.delete_experiment(store.experiment_id)
    assert f"run {run.run_id} (a run) was deleted" in said_by(capsys)


def test_files_of_a_deleted_run_whose_model_is_registered_stay(
    config: Config, capsys: pytest.CaptureFixture[str]
) -> None:
    run = finished(config)
    client = Store(config).client
    client.create_registered_model("good")
    client.create_model_version("good", client.get_run(run.run_id).info.artifact_uri, run.run_id)
    client.delete_run(run.run_id)
    assert f"run {run.run_id} was deleted, but its model is registered as good" in said_by(capsys, "--yes")
    assert len(list((config.home / "mlruns").rglob("model.safetensors"))) == 1


def decode(home: Path, size: int, count: int = 2) -> Path:
    """Decode so many images to a size in pixels; returns the newest shard of it, which was used `size` s after 1970."""
    folder = home / "images"
    folder.mkdir(exist_ok=True)
    for index in range(count):
        Image.fromarray(np.full((20, 20, 3), index, np.uint8)).save(folder / f"{index}.png")
    files = {sha256_of(path): path for path in folder.glob("*.png")}
    decode_images(files, Transform(size, 16, "bilinear", (0.5,) * 3, (0.5,) * 3), home / "cache" / "decoded")
    (store,) = (home / "cache" / "decoded").glob(f"{size}-*pillow-{PIL.__version__}")
    shard = shards_of(store)[-1]
    os.utime(shard / "index.npy", (size, size))
    return shard


def keep_features(home: Path, key: str, used: int) -> Path:
    """Keep some bytes as features; returns the shard, which was used `used` s after 1970."""
    store = RecordStore(home / "cache" / "features" / key)
    with store.appending("waiting") as appender:
        appender.append("an image", np.zeros(1000, np.uint8))
    (shard,) = shards_of(store.folder)
    os.utime(shard / "index.npy", (used, used))
    return shard


def test_caches_over_the_limit_go_by_shards_the_longest_unused_first(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shards = [decode(home, 16), decode(home, 17), keep_features(home, "abc", 18), decode(home, 17, count=3)]
    assert shards[1].parent == shards[3].parent  # what was added has a shard of its own
    os.utime(shards[1] / "index.npy", (15, 15))
    os.utime(shards[3] / "index.npy", (19, 19))
    assert "nothing to delete" in said_by(capsys, "--yes")  # there is no limit
    sizes = [sum(path.stat().st_size for path in shard.iterdir()) for shard in shards]
    said = said_by(capsys, "--yes", "--max-gb", str((sizes[2] + sizes[3]) / 1e9))
    assert said.count("decoded images, last used on 1970-01-01") == 2
    assert [shard.exists() for shard in shards] == [False, False, True, True]
    assert "features, last used on 1970-01-01" in said_by(capsys, "--yes", "--max-gb", str(sizes[3] / 1e9))
    said_by(capsys, "--yes", "--max-gb", "0")
    assert not any(shard.exists() for shard in shards)
    assert decode(home, 17).exists()  # they are decoded anew


def test_opening_decoded_images_counts_as_use_of_their_shards(home: Path) -> None:
    first, second = decode(home, 16), decode(home, 16, count=3)
    os.utime(first / "index.npy", (1, 1))
    images = {sha256_of(path): path for path in (home / "images").glob("[01].png")}
    decode_images(images, Transform(16, 8, "bilinear", (0.5,) * 3, (0.5,) * 3), home / "cache" / "decoded")
    assert last_used(first) > 1e9
    assert last_used(second) == 16


def test_a_store_that_somebody_writes_to_now_stays(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shard, features = decode(home, 16), keep_features(home, "abc", 1)
    (shard.parent / "next.partial").mkdir()
    with FileLock(shard.parent.with_name(f"{shard.parent.name}.lock")):
        assert "deleted 1, " in said_by(capsys, "--yes", "--max-gb", "0")
    assert shard.exists()
    assert not features.exists()
    assert "deleted 2, " in said_by(capsys, "--yes", "--max-gb", "0")
    assert not list(shard.parent.iterdir())


def test_decoded_images_that_are_of_no_use_are_found(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shard, cut, former = decode(home, 16), decode(home, 17), home / "cache" / "decoded" / ("0" * 64)
    (cut / "records.bin").write_bytes(b"")
    former.mkdir()
    np.save(former / "images.npy", np.zeros((1, 16, 16, 3), np.uint8))
    (former / "index.json").write_text("{}")
    said = said_by(capsys, "--max-gb", "0")
    assert f"{cut.relative_to(home)}: decoded images, damaged" in said
    assert f"{former.relative_to(home)}: decoded images of an earlier version" in said
    assert "3 to delete" in said
    assert "deleted 2, " in said_by(capsys, "--yes")
    assert shard.exists()
    assert not cut.exists()
    assert not former.exists()


def keep_versions(home: Path, key: str, **others: str) -> Path:
    """Keep features of these versions beside the ones that are here; returns their folder."""
    folder = keep_features(home, key, 1).parent
    facts = {"versions": feature_versions("torch", "torchvision") | others}
    write_checked(folder / "border.json", {"facts": facts, "border": None, "reason": ""})
    return folder


def test_caches_of_other_versions_are_found_when_a_month_has_passed(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    here = [decode(home, 16).parent, keep_versions(home, "a")]
    decoded = here[0].rename(here[0].with_name("16-bilinear-64-format-3-pillow-1.2.3"))
    former = decode(home, 16).parent.rename(here[0].with_name("16-bilinear-64-format-1-pillow-1.2.3"))
    decode(home, 16)
    features = [keep_versions(home, "b", torch="0.1"), keep_versions(home, "c", Pillow="1.2.3")]
    features += [keep_versions(home, "d", gone="1"), keep_features(home, "e", 1).parent]
    others = [decoded, former, *features]
    assert "nothing to delete" in said_by(capsys, "--yes")  # another installation may have made them today
    for folder in (*here, *others):
        os.utime(folder, (1, 1))
    os.utime(shards_of(features[1])[0] / "index.npy")  # it is used
    reasons = [
        "decoded images, unused for a month, of another version of Pillow (1.2.3); computed anew when needed",
        "decoded images, unused for a month, of another version of the format of decoded images (1); computed anew",
        "features, unused for a month, of another version of torch (0.1); computed anew when needed",
        "",
        "features, unused for a month, of another version of gone (1); computed anew when needed",
        "features, unused for a month, that do not say what computed them",
    ]
    said = said_by(capsys, "--max-gb", "100")
    for folder, reason in zip(others, reasons, strict=True):
        assert (f"{folder.relative_to(home)}: {reason}" in said) == bool(reason)
    assert "5 to delete" in said
    assert "8 to delete" in said_by(capsys, "--max-gb", "0")  # each once
    with FileLock(decoded.with_name(f"{decoded.name}.lock")):
        assert "deleted 4, " in said_by(capsys, "--yes")
    assert [folder.exists() for folder in others] == [True, False, False, True, False, False]
    assert all(folder.exists() for folder in here)


def test_caches_that_cannot_be_locked_stay_and_the_others_are_looked_at(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded, features, damaged = decode(home, 16), keep_features(home, "abc", 17), keep_features(home, "def", 18)
    (damaged / "records.bin").write_bytes(b"")

    def locked(path: Path, seconds: float) -> AbstractContextManager[None]:
        if "abc" in path.name:
            return real(path, seconds)
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

    real = locks.locked
    monkeypatch.setattr("tlft.pixels.cache.locked", locked)
    said = said_by(capsys, "--max-gb", "0", "--yes")
    reason = "cannot be locked (Read-only file system)"
    assert f"kept    {decoded.relative_to(home)}: decoded images, last used on 1970-01-01; {reason}" in said
    assert f"kept    {damaged.relative_to(home)}: features, damaged; {reason}" in said
    assert "deleted 1, " in said
    assert [shard.exists() for shard in (decoded, features, damaged)] == [True, False, True]


def test_a_run_says_that_caches_are_over_the_limit(home: Path, caplog: pytest.LogCaptureFixture) -> None:
    decode(home, 16)
    keep_features(home, "abc", 1)
    for limit in (None, 1.0, 0.0):
        with caplog.at_level(logging.WARNING):
            warn_of_caches(home, limit)
    (line,) = caplog.messages
    assert "more than cache.max_gb=0" in line


def test_what_killed_processes_left_is_found(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    locks = home / "cache" / "locks"
    claim = Claim(locks, "1-alive")
    assert claim.acquire()
    shutil.copytree(locks / "1-alive.claim", locks / "1-dead.claim")
    (lease,) = locks.glob("1-alive.*.lease")
    shutil.copy(lease, locks / lease.name.replace("alive", "dead"))  # of this machine, and no process has its lock
    old, new = home / "cache" / "weights.json.0a1b2c3d.tmp", home / "cache" / "home-id.0a1b2c3d.tmp"
    for path in (old, new, home / "mlflow.db.0a1b2c3d.tmp-wal"):
        path.write_bytes(bytes(10))
    for path in (old, home / "mlflow.db.0a1b2c3d.tmp-wal"):
        os.utime(path, (old.stat().st_mtime - 2 * STALE_SECONDS,) * 2)
    (home / "cache" / "features" / "abc" / "next.partial").mkdir(parents=True)
    job = home / "outputs" / "day" / "time"
    job.mkdir(parents=True)
    written = job / "outcome.json.0a1b2c3d.tmp"
    users = [
        job / "notes.tmp",
        job / "my.tmp.txt",
        job / "notes.0a1b2c3d.tmp",
        home / "cache" / "x.tmp",
        home / "y.tmp",
    ]
    users.append(home / "mlflow.db.backup.tmp")
    for path in (written, *users):
        path.write_bytes(bytes(10))
        os.utime(path, (old.stat().st_mtime - 2 * STALE_SECONDS,) * 2)
    assert "5 to delete" in said_by(capsys)
    assert "deleted 5" in said_by(capsys, "--yes")
    for path in users:  # what a user keeps there is nobody's to delete
        path.unlink()
    left = [name for name in files_in(home) if Path(name).suffix not in (".lock", "")]
    assert left == ["cache/home-id.0a1b2c3d.tmp", *sorted(["cache/locks/1-alive.claim", f"cache/locks/{lease.name}"])]
    claim.release()
    assert files_in(locks) == []


def test_remembered_predictions_that_no_note_has_asked_for_are_found(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old, new = (home / "cache" / "predictions" / name for name in ("1.parquet", "2.parquet"))
    new.parent.mkdir(parents=True)
    for path, days in ((old, 31), (new, 29)):
        path.write_bytes(bytes(10))
        os.utime(path, (time.time() - days * 86400,) * 2)
    assert "deleted 1" in said_by(capsys, "--yes")
    assert [old.exists(), new.exists()] == [False, True]


def test_a_limit_that_is_none_is_refused(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert clean.main(["--max-gb", "-1"]) == 2
    assert capsys.readouterr().err == "--max-gb -1.0: give a number of at least 0\n"


def test_what_cannot_be_deleted_is_said(
    config: Config, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = finished(config)
    Store(config).client.delete_run(run.run_id)

    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("tlft.runtime.garbage.shutil.rmtree", refuse)
    assert clean.main(["--yes"]) == 1
    assert "Permission denied; it was left" in capsys.readouterr().err
    (record,) = load_records("tlft", home=config.home)
    assert record.deleted


@pytest.mark.parametrize("command", [clean.main, sync.main])
def test_a_home_that_is_no_folder_is_one_line(
    command: Callable[[list[str]], int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "file").touch()
    for name, said in (("file", "is a file"), ("nowhere", "no such folder")):
        monkeypatch.setenv("TLFT_HOME", str(tmp_path / name))
        assert command([]) == 2
        assert capsys.readouterr().err == f"TLFT_HOME={tmp_path / name}: {said}; name a folder\n"


@pytest.mark.parametrize("command", [clean.main, sync.main])
def test_a_database_of_a_newer_mlflow_is_one_line_and_stays_as_it_is(
    command: Callable[[list[str]], int], home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    newer_database(home / "mlflow.db")
    before = (home / "mlflow.db").read_bytes()
    status = command([])
    (line,) = capsys.readouterr()[status != 0].splitlines()
    assert ("was written by a newer MLflow" in line) == (status == 2)
    assert (home / "mlflow.db").read_bytes() == before


def test_a_damaged_journal_is_named_and_kept(config: Config, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit), begun(config) as run:
        run.log_metrics({"loss": 1.0}, step=1)
        raise SystemExit(1)
    journal = run.folder.path / "journal.jsonl"
    journal.write_bytes(b"garbage\n" + journal.read_bytes())
    for command, status in ((clean.main, 0), (sync.main, 1)):
        assert command([]) == status
        assert f"{journal}: line 1 is damaged" in capsys.readouterr().out
    with pytest.raises(TlftError, match=r"line 1 is damaged.* to begin the run anew"), begun(config):
        pass
    shutil.rmtree(run.folder.path)
    with begun(config) as anew:
        assert anew.run_id != run.run_id


def test_a_run_json_that_is_none_begins_the_run_anew(config: Config) -> None:
    with pytest.raises(SystemExit), begun(config) as run:
        run.log_metrics({"loss": 1.0}, step=1)
        raise SystemExit(1)
    (run.folder.path / "run.json").write_text("[1]")
    with begun(config) as anew:
        assert anew.run_id != run.run_id
