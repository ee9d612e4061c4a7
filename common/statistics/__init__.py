"""common/statistics: one statistic a file, its two halves (what a site computes, what the server concludes) together.

Importing the package registers every query, so that a site can decode whatever it may be asked.
"""

from common.statistics import counts, logistic, moments, roc, survival

__all__ = ["counts", "logistic", "moments", "roc", "survival"]
