"""Comparing two models on the same rows, and moving the champion's alias."""
