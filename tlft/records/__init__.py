"""What is remembered of runs, in plain types that every room above may pass on: how they ended, and their figures."""
