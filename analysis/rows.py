"""Put runs that differ in nothing but the seed into one cell, and the cells of one recipe into one row.

Runs arrive selected, each with a column (see comparison_table.py); how a table looks is not known here.
"""

from __future__ import annotations

import re
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from analysis.recipes import describe_all, shorten
from tlft.config.columns import COLUMN_PARAMS, column_of
from tlft.names import DRAWINGS, Metric, Param, Tag
from tlft.records.record import Record

_LACKED: tuple[tuple[str, ...], ...] = ((), (Param.BN_MOMENTUM,), (Param.WEIGHTS, Param.BN_MOMENTUM))
"""What trained columns lack by their nature: those that start from weights, a linear probe's, those from scratch."""

_PREFERRED = (Param.PRECISION, Param.DATA_HOLDOUT, Param.FORMAT)


@dataclass(frozen=True)
class Cell:
    """One figure of the table, of runs that differ in nothing but the seed.

    Attributes:
        accuracy: mean of the table's metric, which is a share 0..1 unless a loss or a time was asked for.
        std: sample standard deviation (n - 1 in the denominator); None for n = 1.
        closed_set_accuracy: mean, 0..1, where only outputs of the data's classes compete; None if it was not measured.
    """

    accuracy: float
    std: float | None
    n: int
    closed_set_accuracy: float | None
    run_ids: tuple[str, ...]


@dataclass(frozen=True)
class Row:
    """One data set, architecture and recipe.

    Attributes:
        cells: column key -> its cell; a column that has no runs is absent.
        newest: start of the newest run, in milliseconds since 1970.
        published: whether the figures are those of the publication.
        drawn: whether the images are tlft's own drawings, which say little of photographs.
        tries: column key -> how many recipes, weights and architectures were tried on the same evaluation images, also
            by runs that are not in the table.
    """

    data: str
    arch: str
    recipe: str
    cells: dict[str, Cell]
    newest: int = 0
    published: bool = False
    drawn: bool = False
    tries: Mapping[str, int] = field(default_factory=dict)

    @property
    def place(self) -> str:
        """Data set and architecture."""
        return f"{self.data}, {self.arch}"


_PUBLISHED_ARCH = ("torchvision", "resnet50")
_PUBLISHED_CORRECT = {"zero_shot": 133, "fine_tune": 146, "from_scratch": 105}  # of 153 images


@dataclass
class _Group:
    """Runs of one column and recipe."""

    column: str
    params: dict[str, str]
    runs: list[Record] = field(default_factory=list)


@dataclass
class _Draft:
    """A row while it is filled."""

    params: dict[str, str]
    groups: dict[str, _Group] = field(default_factory=dict)


def build_rows(
    runs: Sequence[Record], metric: str, *, published: bool = False, tried: Sequence[Record] | None = None
) -> tuple[Row, ...]:
    """Return the rows, ordered by data set, architecture and recipe; no two runs of different recipes share a cell.

    `tried` are all runs that count, also those that are not shown; the same ones, if not given.
    """
    drafts = _draft_rows(_group_by_recipe(runs), metric)
    tries: dict[str, Counter[str]] = {}
    for group in _group_by_recipe(runs if tried is None else tried):
        tries.setdefault(group.params.get(Param.DATA_EVAL, ""), Counter())[group.column] += 1
    data_names = _name_data(runs)
    arch_names = _name_archs([*(arch_of(run.params) for run in runs), *([_PUBLISHED_ARCH] if published else [])])
    names = name_digests(runs)
    places = [
        (
            data_names[draft.params.get(Param.DATA_EVAL, "")],
            arch_names[arch_of(draft.params)],
            {name: names.get(name, {}).get(text, text) for name, text in draft.params.items()},
        )
        for draft in drafts
    ]
    rows = [
        Row(
            data=data,
            arch=arch,
            recipe=recipe,
            cells={column: _cell(group.runs, metric) for column, group in draft.groups.items()},
            newest=max(run.start_time for group in draft.groups.values() for run in group.runs),
            tries=tries[draft.params.get(Param.DATA_EVAL, "")],
            drawn=all(run.tags.get(Tag.DATA) == DRAWINGS for group in draft.groups.values() for run in group.runs),
        )
        for draft, (data, arch, _), recipe in zip(drafts, places, describe_all(places), strict=True)
    ]
    if published:
        cells = {column: Cell(correct / 153, None, 1, None, ()) for column, correct in _PUBLISHED_CORRECT.items()}
        rows.append(Row("hymenoptera", arch_names[_PUBLISHED_ARCH], "published", cells, published=True))
    return tuple(sorted(rows, key=lambda row: (row.data, row.arch, row.published, _natural_order(row.recipe))))


def _natural_order(text: str) -> list[tuple[int, float, str]]:
    """Return a sorting key by which `5 epochs` comes before `10 epochs`."""
    parts = re.findall(r"\d+(?:\.\d+)?(?:e-?\d+)?|\D+", text)
    return [(0, float(part), "") if part[0].isdecimal() else (1, 0.0, part) for part in parts]


def _cell(runs: Sequence[Record], metric: str) -> Cell:
    values = [run.metrics[metric] for run in runs]
    closed_set = [run.metrics[Metric.CLOSED_SET_ACCURACY] for run in runs if Metric.CLOSED_SET_ACCURACY in run.metrics]
    return Cell(
        accuracy=statistics.fmean(values),
        std=statistics.stdev(values) if len(values) > 1 else None,
        n=len(values),
        closed_set_accuracy=statistics.fmean(closed_set) if len(closed_set) == len(values) else None,
        run_ids=tuple(run.run_id for run in runs),
    )


def _group_by_recipe(runs: Sequence[Record]) -> list[_Group]:
    groups: dict[tuple[str, frozenset[tuple[str, str]]], _Group] = {}
    for run in runs:
        column = column_of(run.params)
        assert column is not None
        params = {name: text for name, text in run.params.items() if name not in (*COLUMN_PARAMS, Param.SEED)}
        group = groups.setdefault((column.key, frozenset(params.items())), _Group(column.key, params))
        group.runs.append(run)
    return list(groups.values())


def _draft_rows(groups: Sequence[_Group], metric: str) -> list[_Draft]:
    """Give each trained recipe a row, then place what was not trained.

    1. A recipe that starts from weights has a row for each set of weights.
    2. One from scratch joins every row whose recipe is the same otherwise; so does one whose backbone is frozen, and
       has no momentum of batch norm.
    3. What was not trained has no recipe: it joins the rows of its data and architecture, if only one fits.
    4. What fits nowhere has a row of its own.
    """
    trained = [group for group in groups if Param.OPTIMIZER in group.params]
    untrained = [group for group in groups if Param.OPTIMIZER not in group.params]
    drafts: list[_Draft] = []
    for group in sorted(trained, key=_kind):
        matches = [draft for draft in drafts if _same_recipe(group, draft.params)]
        if not matches:
            matches = [_Draft(group.params)]
            drafts += matches
        for draft in matches:
            draft.groups[group.column] = group
    placed: set[int] = set()
    for draft in drafts:
        for column in sorted({group.column for group in untrained}):
            fitting = [g for g in untrained if g.column == column and _fits(g.params, draft.params, metric)]
            if (choice := _only_one(fitting, draft.params)) is not None:
                draft.groups[column] = choice
                placed.add(id(choice))
    return drafts + [_Draft(group.params, {group.column: group}) for group in untrained if id(group) not in placed]


def _same_recipe(group: _Group, row_params: dict[str, str]) -> bool:
    """Tell whether a group was trained as a row's first one, but for what its column has not."""
    lacking = _LACKED[_kind(group)]
    return group.params == {name: text for name, text in row_params.items() if name not in lacking}


def _kind(group: _Group) -> int:
    """Return the place in `_LACKED` of what a trained group lacks; it joins rows of those that lack less."""
    if Param.WEIGHTS not in group.params:
        return 2
    return int(group.column in ("linear_probe", "moments", "shuffled"))  # frozen statistics, or new ones


def _fits(params: dict[str, str], row_params: dict[str, str], metric: str) -> bool:
    """Tell whether an untrained network saw the row's images through the row's transform, with the row's weights."""
    split = f"data.{metric.partition('/')[0]}"
    weights = {params.get(Param.WEIGHTS), row_params.get(Param.WEIGHTS)} - {None}
    must_agree = {name for name in (*params, *row_params) if name.startswith(("arch.", "transform."))}
    must_agree |= {Param.DATA_EVAL, split}
    return len(weights) <= 1 and all(params.get(name) == row_params.get(name) for name in must_agree)


def _only_one(groups: list[_Group], row_params: dict[str, str]) -> _Group | None:
    for name in _PREFERRED:
        groups = [group for group in groups if group.params.get(name) == row_params.get(name)] or groups
    return groups[0] if len(groups) == 1 else None


def _name_data(runs: Sequence[Record]) -> dict[str, str]:
    """Return what people call the evaluation images: digest -> name; the same images under two names have the newer.

    Two sets of images that share a name carry their digests too.
    """
    names = {run.params.get(Param.DATA_EVAL, ""): run.tags.get(Tag.DATA, "unknown") for run in runs}
    counts = Counter(names.values())
    return {digest: name if counts[name] == 1 else f"{name} ({shorten(digest)})" for digest, name in names.items()}


def name_digests(runs: Sequence[Record]) -> dict[str, dict[str, str]]:
    """Return what people call what params have digests of: param -> digest -> name."""
    tags = {Param.WEIGHTS: Tag.WEIGHTS, Param.DATA_TRAIN: Tag.TRAINING_IMAGES}
    return {param: _name_by(runs, param, tag) for param, tag in tags.items()}


def _name_by(runs: Sequence[Record], param: str, tag: str) -> dict[str, str]:
    """Return what people call what a param has the digest of: digest -> name; with the digest where two share it."""
    names = {run.params[param]: run.tags.get(tag, run.params[param]) for run in runs if param in run.params}
    counts = Counter(names.values())
    return {digest: name if counts[name] == 1 else f"{name} ({shorten(digest)})" for digest, name in names.items()}


def arch_of(params: Mapping[str, str]) -> tuple[str, str]:
    """Return the library and the name of a run's architecture."""
    return params.get(Param.ARCH_LIBRARY, ""), params.get(Param.ARCH, "unknown")


def _name_archs(archs: Sequence[tuple[str, str]]) -> dict[tuple[str, str], str]:
    """Return a short name of each architecture, and a long one where a short one would stand for two."""
    short = {arch: arch[1].removeprefix("tf_") for arch in archs}
    counts = Counter(short.values())
    return {arch: name if counts[name] == 1 else "/".join(arch) for arch, name in short.items()}
