"""What a network says of images, and the measures and pictures of it."""
