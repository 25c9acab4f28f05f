"""How good answers are, as numbers: items with pinned sources, judges, measures and their report."""
