"""What was found, to look at: figures, and the HTML page of one or several analyses."""

from dynlab.report.graph_picture import graph_svg, write_graph_picture
from dynlab.report.page import write_report

__all__ = [
    "graph_svg",
    "write_graph_picture",
    "write_report",
]
