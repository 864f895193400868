"""One run, from its configuration to its outcome in the tracking store."""
