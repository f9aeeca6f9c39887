"""One self-contained HTML page about a run: rewards, evaluation, time, reasons, rollouts."""

from mixed_r1.report.compare import build_comparison, compare_runs
from mixed_r1.report.page import build_report
from mixed_r1.report.run_files import ReportError

__all__ = ["ReportError", "build_comparison", "build_report", "compare_runs"]
