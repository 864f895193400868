"""How the jobs of a sweep get their processes."""
