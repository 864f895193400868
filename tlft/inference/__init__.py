"""Apply the network of a finished run to single images."""
