"""Compare a pretrained image network, fine-tuned or not, with one trained from scratch."""
