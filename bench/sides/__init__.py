"""What is measured: programs, each of a process of its own, whose last line is a number of seconds."""
