"""Rendered people: a training set made by rule from public-domain parts, in the layout of Market-1501."""
