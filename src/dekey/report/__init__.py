"""What a training run did, as one HTML page that a person can read and quote. No torch."""

from dekey.report.contents import HeatmapExample, Report
from dekey.report.page import write_report

__all__ = ["HeatmapExample", "Report", "write_report"]
