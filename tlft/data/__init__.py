"""Images: which there are, what they show, in which batches they come; no network is known here."""
