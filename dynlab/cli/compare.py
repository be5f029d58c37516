"""`dynlab compare`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dynlab.cli.options import PAGE
from dynlab.cli.output import print_summary
from dynlab.errors import InputError


def compare(
    folders: Annotated[
        list[Path],
        typer.Argument(
            help="Folders of analyses, such as reports/one reports/other.", metavar="FOLDER...", show_default=False
        ),
    ],
    out: Annotated[Path, typer.Option(help="The page to write, such as reports/both.html.", metavar="FILE.html")],
) -> None:
    """Write one page about several analyses, side by side, from what they found; nothing is computed anew.

    They may differ in map, data and settings. Of maps with different corruption levels the page shows how attractors,
    explosions and accuracy go with the level.
    """
    from dynlab.evaluation.analysis import Analysis
    from dynlab.files import check_writable_file
    from dynlab.folders import MARKS
    from dynlab.report import write_report
    from dynlab.report.labels import in_order, labels_of

    if out.suffix.lower() != ".html":
        raise InputError(f"out {out}: expected a file that ends in .html")
    check_writable_file(out, parameter="out")
    if out.name == PAGE and any(out.parent.glob(pattern) for patterns in MARKS.values() for pattern in patterns):
        raise InputError(f"out {out}: is the page of what stands in this folder, expected another file")
    resolved = [folder.resolve() for folder in folders]
    if len(folders) < 2:
        raise InputError(f"folders: {len(folders)} given, expected at least 2")
    for place, folder in enumerate(resolved):
        if folder in resolved[:place]:
            raise InputError(f"folder {folders[place]}: given twice, expected each analysis once")
    analyses = in_order([Analysis.load(folder) for folder in folders])
    write_report(analyses, out)
    print_summary(analyses, labels_of(analyses))
    print(f"page: {out}")
