"""Networks: their weights, their heads, and which of their parts are trained."""
