"""The report of a run: a folder's `report.html` and the PNG files it shows.

A report is a function of its contents alone: no clock, no host, nothing fetched from elsewhere.
Written again from the same numbers it is the same bytes.
"""

import dataclasses
import io
import pathlib
import re
from collections.abc import Mapping, Sequence

import jinja2
from matplotlib.figure import Figure

from experiments.shell import storage

DPI = 110


@dataclasses.dataclass(frozen=True)
class Report:
    """What a report says, in the order in which it is read.

    Attributes:
        title: the study's name.
        question: what it asks, in a sentence or two.
        findings: pairs of a headline and a sentence.
        figures: file stem -> (figure, caption). The first is the one to see first.
        tables: title -> (header, rows, caption). A row's first cell names the row.
        facts: how it was measured: the manifest's names and values.

    Raises:
        ValueError: if a stem is no plain file name, or a row does not fit its header.
    """

    title: str
    question: str
    findings: Sequence[tuple[str, str]]
    figures: Mapping[str, tuple[Figure, str]]
    tables: Mapping[str, tuple[Sequence[str], Sequence[Sequence[str]], str]]
    facts: Mapping[str, object]

    def __post_init__(self):
        for stem in self.figures:
            if not re.fullmatch(r"[A-Za-z0-9_-]+", stem):
                raise ValueError(
                    f"a figure's stem must be letters, digits, '_' and '-', got {stem!r}"
                )
        for title, (header, rows, _) in self.tables.items():
            for row in rows:
                if len(row) != len(header):
                    raise ValueError(
                        f"each row of table {title!r} must have {len(header)} cells, got {row}"
                    )


def write(
    folder: pathlib.Path, report: Report, verdicts: Mapping[str, str] | None = None
) -> pathlib.Path:
    """Writes the figures, the page that shows them, and the findings as JSON, with the `verdicts`
    of those headlines that have one; returns the page's path."""
    for stem, (figure, _) in report.figures.items():
        storage.write_bytes(folder / f"{stem}.png", _png(figure))
    content = {
        "title": report.title,
        "question": report.question,
        "findings": report.findings,
        "verdicts": dict(verdicts or {}),
        "figures": [{"stem": s, "caption": c} for s, (_, c) in report.figures.items()],
    }
    storage.write_json(folder / "findings.json", content)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(pathlib.Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    page = environment.get_template("report.html.jinja").render(report=report, dpi=DPI)
    path = folder / "report.html"
    storage.write_bytes(path, page.encode())
    return path


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None})
    return buffer.getvalue()
