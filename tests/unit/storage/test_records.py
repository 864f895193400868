"""Records of bytes in shards: what was written is read, and nothing that is damaged, half or gone."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tlft.storage import records
from tlft.storage.records import RecordStore, is_damaged, last_used, open_store, shards_of


def fill(store: RecordStore, *keys: str, size: int = 100) -> None:
    with store.appending("waiting") as appender:
        for key in store.missing(keys):
            appender.append(key, np.frombuffer(key.encode().ljust(size, b"."), np.uint8))


def text(store: RecordStore, key: str) -> str:
    return bytes(store.read(key)).decode().rstrip(".")


def test_what_is_appended_is_read_by_others_also_later(tmp_path: Path) -> None:
    reader = RecordStore(tmp_path / "store")
    writer = RecordStore(tmp_path / "store")
    fill(writer, "a", "b")
    fill(writer, "b", "c", size=77)
    assert reader.missing("abcd") == ["a", "b", "c", "d"]
    reader.look()
    assert reader.missing("abcda") == ["d"]
    assert [text(reader, key) for key in "abc"] == ["a", "b", "c"]
    assert len(reader.read("c")) == 77
    assert len(shards_of(tmp_path / "store")) == 2  # the second holds only what was missing


@pytest.mark.parametrize("shape", [(3, 5), (2, 2, 2), (0,)])
@pytest.mark.parametrize("dtype", [np.float32, np.uint16])
def test_arrays_come_back_with_their_bits(tmp_path: Path, shape: tuple[int, ...], dtype: type) -> None:
    array: np.ndarray = np.arange(np.prod(shape), dtype=dtype).reshape(shape)[::-1]
    store = RecordStore(tmp_path / "store")
    with store.appending("waiting") as appender:
        appender.append("x", array)
    assert np.array_equal(store.read("x").view(dtype).reshape(shape), array)


def test_a_large_store_has_several_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "LARGEST_SHARD", 1000)
    store = RecordStore(tmp_path / "store")
    keys = [f"key {number}" for number in range(50)]
    fill(store, *keys)
    assert len(shards_of(tmp_path / "store")) > 4
    assert [text(store, key) for key in keys] == keys


def test_what_takes_long_is_closed_from_time_to_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "LONGEST_OPEN", 0.0)
    fill(RecordStore(tmp_path / "store"), "a", "b", "c")
    assert len(shards_of(tmp_path / "store")) == 3


def test_a_changed_byte_is_found_and_only_its_record_is_dropped(tmp_path: Path) -> None:
    fill(RecordStore(tmp_path / "store"), "a", "b", "c")
    (shard,) = shards_of(tmp_path / "store")
    data = bytearray((shard / "records.bin").read_bytes())
    data[200] ^= 1  # in the second record, which begins at 64 + 128
    (shard / "records.bin").write_bytes(data)
    store = RecordStore(tmp_path / "store")
    assert store.drop_damaged(["a", "b", "c", "d"]) == ["b"]
    assert store.missing("abc") == ["b"]
    fill(store, "b")
    assert text(store, "b") == "b"
    assert store.drop_damaged("abc") == []
    again = RecordStore(tmp_path / "store")  # the newer shard counts
    assert again.drop_damaged("abc") == []


@pytest.mark.parametrize(
    ("file", "kept"), [("records.bin", 40), ("records.bin", 0), ("index.npy", 90), ("index.npy", 0)], ids=str
)
def test_a_shard_that_is_cut_short_is_as_if_it_were_not_there(tmp_path: Path, file: str, kept: int) -> None:
    fill(RecordStore(tmp_path / "store"), "a", "b")
    (shard,) = shards_of(tmp_path / "store")
    (shard / file).write_bytes((shard / file).read_bytes()[:kept])
    store = RecordStore(tmp_path / "store")
    assert store.missing("ab") == ["a", "b"]
    fill(store, "a", "b")
    assert text(RecordStore(tmp_path / "store"), "b") == "b"


def test_an_index_with_any_byte_changed_is_met_without_an_error(tmp_path: Path) -> None:
    """What it leads to is a record as it was written, or none."""
    fill(RecordStore(tmp_path / "store"), "a", "b")
    (shard,) = shards_of(tmp_path / "store")
    whole = (shard / "index.npy").read_bytes()
    for position in range(len(whole)):
        for mask in (1, 0x80):
            data = bytearray(whole)
            data[position] ^= mask
            (shard / "index.npy").write_bytes(data)
            store = RecordStore(tmp_path / "store")
            found = [bytes(record) for key in "ab" if (record := store.read_sound(key)) is not None]
            assert {record.rstrip(b".") for record in found} <= {b"a", b"b"}


def test_a_number_that_is_taken_again_is_another_shard(tmp_path: Path) -> None:
    store = RecordStore(tmp_path / "store")
    fill(store, "a")
    shutil.rmtree(shards_of(tmp_path / "store")[0])
    fill(RecordStore(tmp_path / "store"), "b")
    store.look()
    assert store.missing("ab") == ["a"]
    assert text(store, "b") == "b"


def test_a_process_opens_a_store_once(tmp_path: Path) -> None:
    fill(open_store(tmp_path / "store"), "a")
    assert open_store(tmp_path / "store").missing("ab") == ["b"]


def test_a_damaged_shard_is_told(tmp_path: Path) -> None:
    fill(RecordStore(tmp_path / "store"), "a")
    (shard,) = shards_of(tmp_path / "store")
    assert not is_damaged(shard)
    (shard / "index.npy").write_bytes(b"")
    assert is_damaged(shard)


def test_shards_that_are_deleted_are_forgotten_and_open_ones_stay_readable(tmp_path: Path) -> None:
    store = RecordStore(tmp_path / "store")
    fill(store, "a")
    opened = store.read("a")
    shutil.rmtree(shards_of(tmp_path / "store")[0])
    assert bytes(opened).startswith(b"a.")
    store.look()
    assert store.missing("a") == ["a"]


def test_what_was_appended_before_an_error_stays(tmp_path: Path) -> None:
    store = RecordStore(tmp_path / "store")
    with pytest.raises(KeyboardInterrupt), store.appending("waiting") as appender:
        appender.append("a", np.zeros(10, np.uint8))
        raise KeyboardInterrupt
    assert RecordStore(tmp_path / "store").missing("ab") == ["b"]


def test_a_full_disk_is_an_error_and_leaves_nothing_half(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = RecordStore(tmp_path / "store")
    fill(store, "a")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        fill(store, "b")
    monkeypatch.undo()
    assert [path.name for path in (tmp_path / "store").iterdir()] == ["000001"]
    assert store.missing("ab") == ["b"]
    fill(store, "b")
    assert text(store, "b") == "b"


def test_a_killed_writer_leaves_whole_shards_and_the_next_goes_on(tmp_path: Path) -> None:
    script = (
        "import sys, numpy as np, pathlib, time\nfrom tlft.storage import records\nrecords.LARGEST_SHARD = 1000\n"
        f"store = records.RecordStore(pathlib.Path({str(tmp_path / 'store')!r}))\n"
        "with store.appending('waiting') as appender:\n"
        "    for number in range(15):\n        appender.append(f'{number}', np.full(100, number, np.uint8))\n"
        "    print('written', flush=True)\n    time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.kill()
    assert (tmp_path / "store" / "next.partial").is_dir()
    store = RecordStore(tmp_path / "store")
    keys = [str(number) for number in range(20)]
    assert store.missing(keys) == keys[8:]  # a shard of eight records is full, the other was open
    with store.appending("waiting") as appender:
        for key in store.missing(keys):
            appender.append(key, np.full(100, int(key), np.uint8))
    assert all((store.read(key) == int(key)).all() for key in keys)
    assert not (tmp_path / "store" / "next.partial").exists()


def test_where_all_have_one_length_another_is_damage(tmp_path: Path) -> None:
    store = RecordStore(tmp_path / "store")
    fill(store, "a", "b")
    fill(store, "c", size=99)
    fill(store, "d", size=0)
    assert store.drop_damaged("abcde", 100) == ["c", "d"]
    assert store.missing("abcd") == ["c", "d"]
    fill(store, "c")
    assert store.drop_damaged("abcd", 100) == []
    assert RecordStore(tmp_path / "store").drop_damaged("abcd") == []  # elsewhere any length is right


def test_use_is_noted_of_the_shards_that_are_used(tmp_path: Path) -> None:
    store = RecordStore(tmp_path / "store")
    fill(store, "a")
    fill(store, "b")
    shards = shards_of(tmp_path / "store")
    for shard in shards:
        os.utime(shard / "index.npy", (1, 1))
    store.touch("b")
    assert last_used(shards[0]) == 1
    assert last_used(shards[1]) > time.time() - 60
    assert last_used(tmp_path / "nothing") == 0
