"""The experiment's note in MLflow: the sentence that matters, then the table.

What the sentence and the table say is decided in `analysis`.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from tlft.commands import invocation
from tlft.config.schema import Config
from tlft.names import LONGEST_EXPERIMENT_TAG, shorten
from tlft.records.record import Record
from tlft.runs.curves_view import KEY, curves_view
from tlft.tracking.reader import ArtifactReader, load_records
from tlft.tracking.server import reason_of
from tlft.tracking.store import Store

if TYPE_CHECKING:
    from analysis.comparison_table import Table

log = logging.getLogger(__name__)


def refresh_note(config: Config, records: Sequence[Record] | None = None, reader: ArtifactReader | None = None) -> None:
    """Write the note anew from all runs of the experiment; a failure is said, since the runs themselves are safe.

    `records` are its runs if they were read already, and `reader` has perhaps read some of their predictions.
    """
    from analysis.comparison_table import add_evidence, build_table
    from analysis.predictions.remembered import memory_of, recall_predictions

    if config.debug:
        return
    try:
        if records is None:
            records = load_records(config.tracking.experiment, config.tracking.uri, config.home)
        command = f"{invocation('table')} --columns all --experiment {config.tracking.experiment}"
        table = build_table(records, all_columns=True, command=command)
        reader = reader or ArtifactReader(config.tracking.uri, config.home)
        store = Store(config)
        memory = memory_of(config.home, config.tracking.uri, store.experiment_id)
        others = {record.run_id for record in records if not record.deleted}
        table = add_evidence(table, recall_predictions(memory, table.runs, reader, others))
        store.set_note(write_note(table, LONGEST_EXPERIMENT_TAG))
        store.set_view(KEY, curves_view({name for record in records for name in record.metrics}))
    except Exception as error:
        log.warning("the experiment's note could not be written: %s", reason_of(error))


def write_note(table: Table, longest: int) -> str:
    """Return the sentence that matters and the table, with as many rows as `longest` characters have room for."""
    from analysis.footnotes import cautions
    from analysis.narrative import head_row, headline
    from analysis.render import render

    command = shorten(table.command, longest // 5)

    head = head_row(table)
    first = sorted(table.rows, key=lambda row: row is not head)  # the row that the headline speaks of

    def write(rows: int) -> str:
        left_out = len(table.rows) - rows
        which = "one row is" if left_out == 1 else f"{left_out} rows are"
        remark = f"\n\nA note has room for no more: {which} left out here." if left_out else ""
        text = render(replace(table, command=command), "markdown", rows=first[:rows])
        return f"{headline(table)}\n\n{text}{remark}"

    fitting = (text for rows in range(len(table.rows), 0, -1) if len(text := write(rows)) <= longest)
    alone = "\n\n".join([headline(table), *(cautions(table, head.data) if head is not None else [])])
    return next(fitting, shorten(alone, longest))
