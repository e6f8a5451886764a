"""Scoring in bulk: several processes on one machine, engines that run on many (docs/scale.md)."""

from charlm.bulk.scorer import Scorer

__all__ = ["Scorer"]
