"""What the frozen part of a network says of each image, computed once for all runs and processes."""
