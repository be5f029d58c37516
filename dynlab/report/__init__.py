"""What was found, to look at: figures, and the HTML page of one or several analyses."""

from dynlab.report.page import write_report
from dynlab.report.rarefaction import AttractorCount, attractor_count

__all__ = ["AttractorCount", "attractor_count", "write_report"]
