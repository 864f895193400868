"""What a person at a terminal reads: tables, progress, lines that break between words, and how commands end."""
