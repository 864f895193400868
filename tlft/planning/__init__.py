"""The jobs of a sweep before they are run: composed, identified, looked up, and what they will cost."""
