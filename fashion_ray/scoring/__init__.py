"""Scoring the catalog, and reading what was scored."""

from fashion_ray.scoring.reader import open_scores

__all__ = ["open_scores"]
