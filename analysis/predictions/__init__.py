"""What networks said of each evaluation image, side by side, and remembered between tables."""
