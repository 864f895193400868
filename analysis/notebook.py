"""The comparison for a notebook: data frames, and an object that shows itself.

Nothing is computed here that a table, its evidence or the predictions do not hold.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property

import pandas as pd
from pandas import DataFrame

from analysis.comparison_table import Table
from analysis.html_page import render_part
from analysis.image_review import compare_photographs
from analysis.narrative import data_sets, head_row, headline
from analysis.predictions.correctness import Frames
from analysis.query import TableQuery, load_table
from analysis.render import render
from analysis.template_context import describe_table, draw_runs
from tlft.config.columns import column_of
from tlft.names import Metric, Tag


@dataclass(frozen=True, repr=False)
class Comparison:
    """A table, what it proves, and the runs and predictions behind it; a notebook shows the table with its notes."""

    table: Table
    frames: Frames

    def __str__(self) -> str:
        return render(self.table, "terminal")

    def __repr__(self) -> str:
        rows, runs = len(self.table.rows), len(self.table.runs)
        return f"<Comparison of {runs} runs in {rows} row{'s' * (rows != 1)}: {', '.join(data_sets(self.table))}>"

    def _repr_html_(self) -> str:
        context = {**draw_runs(self.table), **describe_table(self.table)}
        return render_part("comparison.html.j2", headline=self.headline, **context)

    @property
    def headline(self) -> str:
        """The sentence that is the answer."""
        return headline(self.table)

    @cached_property
    def cells(self) -> DataFrame:
        """A line per row of the table: data, arch, recipe, and the figures of each column (shares 0..1)."""
        return self.table.to_frame()

    @cached_property
    def claims(self) -> DataFrame:
        """A line per comparison of two columns: counts of images, the difference and its 95 % interval, p.

        `p_corrected` is corrected for the lines of a row (Holm), and the interval of `level` is as strict; `closed_set`
        tells whether heads with other outputs are scored on the data's classes alone; `unlike` in what the sides differ
        that is not the question. Empty for another metric.
        """
        return pd.DataFrame(
            [
                {
                    "data": claim.row.data,
                    "arch": claim.row.arch,
                    "recipe": claim.row.recipe,
                    "new": claim.new,
                    "old": claim.old,
                    "closed_set": claim.closed_set,
                    "images": claim.comparison.images,
                    "corrected": claim.comparison.corrected,
                    "spoiled": claim.comparison.spoiled,
                    "difference": claim.comparison.difference,
                    "low": claim.comparison.interval.low,
                    "high": claim.comparison.interval.high,
                    "interval_of": claim.comparison.interval.kind,
                    "level": claim.comparison.level,
                    "p": claim.comparison.p,
                    "p_corrected": claim.p,
                    "unlike": ", ".join(claim.caveats),
                }
                for claim in (self.table.evidence.claims if self.table.evidence is not None else ())
            ]
        )

    @cached_property
    def runs(self) -> DataFrame:
        """A line per run of the table, by its id: when, which column, every param and every metric's last value."""
        lines = [
            {
                "name": run.name,
                "started": pd.Timestamp(run.start_time, unit="ms", tz="UTC"),
                "data": run.tags.get(Tag.DATA, ""),
                "column": column.key if (column := column_of(run.params)) is not None else "",
                **run.params,
                **run.metrics,
            }
            for run in self.table.runs
        ]
        return pd.DataFrame(lines, index=pd.Index([run.run_id for run in self.table.runs], name="run_id"))

    @cached_property
    def predictions(self) -> DataFrame:
        """A line per run and image: run_id, column, file, sha256, label, predicted, confidence, and p/<class>."""
        columns = dict(self.runs["column"])
        frames = {(run_id, columns[run_id]): frame for run_id, frame in self.frames.items() if run_id in columns}
        if not frames:
            return pd.DataFrame()
        return pd.concat(frames, names=["run_id", "column"]).reset_index([0, 1]).reset_index(drop=True)

    @cached_property
    def photographs(self) -> DataFrame:
        """A line per evaluation image of the row that the headline speaks of, the most disputed first.

        `disagreement` is the mean difference between two columns' shares of right networks; then for each column what
        most of its networks say and how sure these are, the share that is right, and the mean probability of the label.
        """
        row = head_row(self.table)
        if row is None:
            return pd.DataFrame()
        lines = []
        for photograph in compare_photographs(row, list(row.cells), self.frames):
            line = {name: getattr(photograph, name) for name in ("file", "sha256", "label", "disagreement")}
            for verdict in photograph.verdicts:
                line[f"{verdict.column}_predicted"] = verdict.predicted
                line[f"{verdict.column}_right"] = verdict.right
                line[f"{verdict.column}_confidence"] = verdict.confidence
                line[f"{verdict.column}_probability"] = verdict.label_probability
            lines.append(line)
        return pd.DataFrame(lines)


def compare(
    experiment: str = "tlft",
    *,
    uri: str | None = None,
    data: Collection[str] | None = None,
    arch: Collection[str] | None = None,
    columns: str = "three",
    published: bool = False,
    metric: str = Metric.ACCURACY,
    stats: str = "short",
    group: str | None = None,
) -> Comparison:
    """Put the finished runs of an experiment side by side, as `python -m analysis.table` does with the same options.

    What each of them means is said once, in `analysis.query.TableQuery`.

    Raises:
        ConfigurationError: if there is nothing to show.
        TlftError: if the store does not answer.
    """
    table, reader = load_table(TableQuery(experiment, uri, data, arch, columns, published, metric, stats, group))
    return Comparison(table, reader.predictions(table.runs))
