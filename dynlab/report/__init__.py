"""What was found, to look at: figures, and the HTML page of one or several analyses."""

from dynlab.report.page import write_report

__all__ = ["write_report"]
