"""The report: one HTML file that says what the runs show, and shows the photographs behind it.

It is a view of a table, its evidence and the predictions; no figure is computed here but for drawing.
"""
