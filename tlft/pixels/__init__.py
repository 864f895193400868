"""Pixels: images decoded once for all runs, and cut, flipped and changed from there."""
