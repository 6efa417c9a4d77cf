"""Rendered people: a training set in the layout of Market-1501, generated from public-domain parts."""
