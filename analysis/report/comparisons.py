"""The table of comparisons: a line for each, with its difference as a bar on one axis that all share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from analysis.comparison_table import Table
from analysis.evidence import Claim
from analysis.narrative import data_sets, difference_in_points, format_p, only_classes, short_title
from analysis.report.material import Material
from analysis.rows import Row
from analysis.svg_charts import column_class, draw_difference, draw_difference_axis

_MAX_OPEN_GROUPS = 3


def describe_comparisons(material: Material) -> dict[str, Any]:
    """Return the comparisons of each row, those of the head rows first, with what they share; nothing without any."""
    table = material.table
    claims = table.evidence.claims if table.evidence is not None else ()
    if not claims:
        return {"comparisons": None}
    ends = _ends(claims)
    order = [*material.rows, *(row for row in table.rows if row not in material.rows)]
    groups = [_group(table, row, material, ends) for row in order if any(claim.row is row for claim in claims)]
    heads = max(len(data_sets(table)), _MAX_OPEN_GROUPS)
    return {
        "comparisons": {
            "axis": draw_difference_axis(*ends),
            "groups": groups[:heads],
            "more": groups[heads:],
            "shared": _shared(claims),
        }
    }


def _ends(claims: Sequence[Claim]) -> tuple[float, float]:
    """Return where the axis of all comparisons begins and ends, in points; zero lies on it."""
    ends = [100 * end for claim in claims for end in (claim.comparison.interval.low, claim.comparison.interval.high)]
    return min(*ends, -1.0), max(*ends, 1.0)


def _shared(claims: Sequence[Claim]) -> str:
    """Return what is true of every comparison, and so is said once."""
    images = {claim.comparison.images for claim in claims}
    text = f"Each on the same {images.pop()} evaluation images. " if len(images) == 1 else ""
    if all(claim.comparison.seeds_unknown for claim in claims):
        text += "Few networks a side: other seeds may do otherwise. "
    if any(max(claim.comparison.networks) > 1 for claim in claims):
        text += (
            "Of several networks the last two figures are means; behind them are all images in which some differ so. "
        )
    return text + "Green is better, red is worse, grey is not shown to differ; the bar is the 95 % interval."


def _group(table: Table, row: Row, material: Material, ends: tuple[float, float]) -> dict[str, Any]:
    titles = {column.key: short_title(column) for column in table.columns}
    place = material.rows.index(row) if row in material.rows else None
    assert table.evidence is not None
    claims = table.evidence.claims_of(row)
    return {
        "name": f"{row.place}, {row.recipe}",
        "lines": [_line(claim, titles, place, ends) for claim in claims],
    }


def _line(claim: Claim, titles: Mapping[str, str], place: int | None, ends: tuple[float, float]) -> dict[str, Any]:
    comparison = claim.comparison
    kind = "unknown" if not claim.significant else "better" if comparison.difference > 0 else "worse"
    difference = tuple(100 * end for end in (comparison.interval.low, comparison.difference, comparison.interval.high))
    new, old = comparison.networks
    points, low, high = difference_in_points(claim)
    title = f"{points} points, 95 % interval {low} to {high}"
    return {
        "new": {"title": titles[claim.new], "colour": column_class(claim.new)},
        "old": {"title": titles[claim.old], "colour": column_class(claim.old)},
        "networks": f"{new} network{'s' * (new > 1)} against {old}",
        "scored": _scored(claim),
        "verdict": kind if claim.significant else "not shown",
        "of": "these networks" if comparison.seeds_unknown and claim.significant else "",
        "kind": kind,
        "points": points,
        "interval": f"[{low}, {high}]",
        "p": format_p(claim.p),
        "bar": draw_difference(*difference, ends=ends, kind=kind, title=title),
        "corrected": _link(comparison.corrected, claim, place, right=claim.new, wrong=claim.old),
        "spoiled": _link(comparison.spoiled, claim, place, right=claim.old, wrong=claim.new),
        "caveats": ", ".join(claim.caveats),
    }


def _link(count: float, claim: Claim, place: int | None, *, right: str, wrong: str) -> dict[str, Any]:
    """Return a count of images, and which filter shows all those that are in it, perhaps with some networks alone."""
    networks = dict(zip((claim.new, claim.old), claim.comparison.networks, strict=True))
    wanted = [
        f"{side}:{'any-' * (networks[side] > 1)}{outcome}:{'closed' if side in claim.closed_sides else 'open'}"
        for side, outcome in ((right, "right"), (wrong, "wrong"))
    ]
    text = f"{count:g}" if count == int(count) else f"{count:.1f}"
    return {"text": text, "row": place, "filter": " ".join(wanted)}


def _scored(claim: Claim) -> str:
    """Say which outputs compete: where neither side has the 1000 of ImageNet, there are no others."""
    if claim.closed_set:
        return f"only {only_classes(claim)}"
    return "all 1000 outputs" if "zero_shot" in (claim.new, claim.old) else "its classes"
