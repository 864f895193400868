"""Measured ratios against peers and against the machine's limit; imported by nobody."""
