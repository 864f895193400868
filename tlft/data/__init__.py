"""Images: which there are, what they show, their pixels; no network is known here."""
