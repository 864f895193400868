"""Eight processes that write to one SQLite database at the same time."""

from __future__ import annotations

from multiprocessing.synchronize import Barrier

from conftest import Configure
from killing import left_over
from warm import warm_server

from tlft.config.schema import Config
from tlft.tracking.claimed_run import claim_run
from tlft.tracking.reader import load_records
from tlft.tracking.store import Store

WRITERS, RUNS, EPOCHS, FIGURES = 8, 4, 10, 6


def figures(writer: int, run: int, epoch: int) -> dict[str, float]:
    return {f"train/figure{figure}": writer + run / 10 + epoch / 1000 + figure / 1e6 for figure in range(FIGURES)}


def write(config: Config, writer: int, together: Barrier) -> None:
    """Do some runs with made-up figures, in a process of its own; all name a new data set in the same moment."""
    for number in range(RUNS):
        key = f"{writer}{number}".ljust(64, "0")
        with (
            claim_run(Store(config), key) as claim,
            claim.start(f"{writer} {number}", {"writer": str(writer)}, {}) as run,
        ):
            run.log_inputs("insects", "/data", {"train": f"new in round {number}", "eval": "the same for all"})
            together.wait()
            for epoch in range(1, EPOCHS + 1):
                run.log_metrics(figures(writer, number, epoch), step=epoch)
                assert run.deliver(), run.refusal
            with run.writing_files() as folder:
                (folder / "layers.txt").write_text(key)


def test_eight_writers_lose_nothing(configure: Configure) -> None:
    config = configure()
    server = warm_server()
    together = server.Barrier(WRITERS)
    processes = [server.Process(target=write, args=(config, writer, together)) for writer in range(WRITERS)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * WRITERS

    runs = {record.key: record for record in load_records("tlft", home=config.home)}
    client = Store(config).client
    assert len(runs) == len(load_records("tlft", home=config.home)) == WRITERS * RUNS
    for writer in range(WRITERS):
        for number in range(RUNS):
            record = runs[f"{writer}{number}".ljust(64, "0")]
            assert (record.status, record.params) == ("FINISHED", {"writer": str(writer)})
            read = client.get_run(record.run_id).inputs
            assert read is not None
            assert {one.dataset.digest for one in read.dataset_inputs} == {f"new in round {number}", "the same for all"}
            for figure in range(FIGURES):
                name = f"train/figure{figure}"
                logged = [(point.step, point.value) for point in client.get_metric_history(record.run_id, name)]
                assert logged == [(epoch, figures(writer, number, epoch)[name]) for epoch in range(1, EPOCHS + 1)]
            (file,) = config.home.glob(f"mlruns/tlft/{record.run_id}/artifacts/layers.txt")
            assert file.read_text() == record.key
    assert left_over(config.home) == []
