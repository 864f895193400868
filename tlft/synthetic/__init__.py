"""The drawn ants and bees."""
