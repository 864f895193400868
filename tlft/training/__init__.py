"""Train a network, and go on where a process stopped; what becomes of the result is not known here."""
