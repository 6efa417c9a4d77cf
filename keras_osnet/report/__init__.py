"""The report: an HTML page about a network on a test set."""

from keras_osnet.report.report import write_report

__all__ = ["write_report"]
