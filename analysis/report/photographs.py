"""The photographs of every data set, each shown once, with what each column of every row says of it.

The page's script puts the chosen row's predictions below them, so that twenty rows are no longer than one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from analysis.image_review import SHORT_SIDE, Photograph, Verdict, compare_photographs, draw_thumbnails
from analysis.narrative import short_title
from analysis.report.material import Material
from analysis.rows import Row
from analysis.svg_charts import column_class
from tlft.evaluation.wording import say_prediction, say_probability
from tlft.names import Param

MAX_PHOTOGRAPHS = 1500
"""Each costs the page some 700 characters even without a picture."""

MAX_PICTURE_CHARACTERS = 3_600_000

_MARKUP = 120  # characters of a picture's element beside its address and twice what it is called

_RIGHT, _WRONG = "\u2713", "\u2717"


Sheet = dict[tuple[str, str], str]
"""(file, SHA-256) -> class, of the photographs of one data set; those about which its head row disagrees most first."""


def describe_photographs(material: Material) -> dict[str, Any]:
    """Return the photographs, still without pictures, and `predictions`: what the script needs.

    There are none where no predictions can be read.
    """
    by_row = {place: photographs for place, row in enumerate(material.rows) if (photographs := _compare(material, row))}
    if not by_row:
        return {"sheets": [], "predictions": None}
    sheets: dict[str, Sheet] = {}
    for place, photographs in by_row.items():
        sheet = sheets.setdefault(material.rows[place].data, {})
        for photograph in photographs:
            sheet.setdefault((photograph.file, photograph.sha256), photograph.label)
    shown = _fitting(sheets)
    texts: dict[str, int] = {}
    data_sets = list(shown)
    rows = {
        place: _predictions(material, place, photographs, data_sets, shown[material.rows[place].data], texts)
        for place, photographs in by_row.items()
    }
    return {
        "sheets": [_sheet(data, sheets[data], shown[data]) for data in data_sets],
        "predictions": {"texts": list(texts), "rows": rows},
    }


def _short_side(material: Material) -> int:
    """Return the size to which most of the networks have images resized."""
    sizes = Counter(run.params.get(Param.RESIZE, "") for run in material.table.runs)
    (size, _), *_ = sizes.most_common(1)
    return int(size) if size.isdecimal() else SHORT_SIDE


def _compare(material: Material, row: Row) -> list[Photograph]:
    columns = [column.key for column in material.table.columns if column.key in row.cells]
    return compare_photographs(row, columns, material.frames)


def _fitting(sheets: Mapping[str, Sheet]) -> dict[str, Sheet]:
    """Return the photographs for which there is room, as many of each data set."""
    most = MAX_PHOTOGRAPHS // len(sheets)
    return {data: dict(list(sheet.items())[:most]) for data, sheet in sheets.items()}


def add_pictures(sheets: Sequence[dict[str, Any]], material: Material, room: int) -> None:
    """Give photographs their pictures, in at most `room` characters, and say how many have none."""
    elements = sum(_MARKUP + 2 * len(photo["file"] + photo["label"]) for s in sheets for photo in s["photographs"])
    budget, short_side = min(room - elements, MAX_PICTURE_CHARACTERS), _short_side(material)
    for sheet in sheets:
        photographs = sheet["photographs"]
        files = [(photograph["file"], photograph["sha256"]) for photograph in photographs]
        pictures = draw_thumbnails(files, material.roots, budget, short_side)
        budget -= sum(map(len, pictures.values()))
        for photograph in photographs:
            photograph["image"] = pictures.get(photograph["sha256"])
        drawn = sum(photograph["image"] is not None for photograph in photographs)
        if not drawn:
            sheet["note"] += " Their files are not here, so only names are shown."
        elif drawn < len(photographs):
            sheet["note"] += f" {len(photographs) - drawn} of them are shown by name alone, to keep this page small."


def _sheet(data: str, all_of_it: Sheet, shown: Sheet) -> dict[str, Any]:
    note = f"{len(all_of_it)} evaluation images of {data}."
    if len(shown) < len(all_of_it):
        note += f" {len(all_of_it) - len(shown)} of them, the least disputed, are left out, to keep this page small."
    return {
        "data": data,
        "note": note,
        "total": len(all_of_it),
        "classes": sorted(set(shown.values())),
        "photographs": [
            {"file": file, "sha256": digest, "label": label, "image": None} for (file, digest), label in shown.items()
        ],
    }


def _predictions(
    material: Material,
    place: int,
    photographs: Sequence[Photograph],
    data_sets: Sequence[str],
    shown: Sheet,
    texts: dict[str, int],
) -> dict[str, Any]:
    """Return what the columns of a row say, as short as can be: numbers of texts, and of networks' outcomes.

    The latter have a bit for each fact that the script filters by, which has the same list (`FACTS`).
    """
    row = material.rows[place]
    titles = {column.key: short_title(column) for column in material.table.columns}
    places = {image: number for number, image in enumerate(shown)}
    columns = [verdict.column for verdict in photographs[0].verdicts]
    evidence = {key: material.table.evidence_of(row, key) for key in columns}
    several = {verdict.column for verdict in photographs[0].verdicts if verdict.networks > 1}
    return {
        "sheet": data_sets.index(row.data),
        "note": _note(len(columns), several=bool(several)),
        "columns": [
            {
                "key": key,
                "title": titles[key],
                "colour": column_class(key),
                "open": (cell := evidence[key]) is not None and cell.correctness.open_set,
                "several": key in several,
            }
            for key in columns
        ],
        "photographs": [
            [
                places[image],
                *(number for verdict in photograph.verdicts for number in _encode(verdict, photograph, texts)),
            ]
            for photograph in photographs
            if (image := (photograph.file, photograph.sha256)) in places
        ],
    }


def _note(columns: int, *, several: bool) -> str:
    order = "about which the columns disagree most" if columns > 1 else "that most networks get wrong"
    note = f"Those first {order}. Behind a prediction stands its own probability, and that of the true class where "
    note += "this is another."
    if several:
        note += " Of several networks these are means, and an image counts as right where more than half of them are;"
        note += " where they disagree so that no class has more than half, the true one's mean is given."
    return note


def _encode(verdict: Verdict, photograph: Photograph, texts: dict[str, int]) -> tuple[int, int]:
    text = describe_verdict(verdict, photograph.label)
    if (verdict.right > 0.5) != (verdict.right_closed_set > 0.5):  # or a filter by this would contradict what is shown
        text += f" ({_RIGHT if verdict.right_closed_set > 0.5 else _WRONG} of the data's classes alone)"
    shares = verdict.right, verdict.right_closed_set
    facts = [*(share > 0.5 for share in shares), *(fact for share in shares for fact in (share > 0, share < 1))]
    return texts.setdefault(text, len(texts)), sum(fact << place for place, fact in enumerate(facts))


def describe_verdict(verdict: Verdict, label: str) -> str:
    """Return what a column says of an image, such as `✗ daisy 88 %, ants 2 %`."""
    said = say_prediction(verdict.predicted, verdict.confidence, label, verdict.label_probability)
    if verdict.right in (0, 1):
        text = f"{_RIGHT if verdict.right else _WRONG} {said}"
    else:
        mean = f"{label} {say_probability(verdict.label_probability)} on average"
        most = f"most say {said}" if verdict.agreed else mean
        text = f"{round(verdict.right * verdict.networks)} of {verdict.networks} right; {most}"
    return text.replace(" %", "\u00a0%")
