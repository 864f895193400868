"""Find images that show one picture, and tell copies from what is merely alike."""
