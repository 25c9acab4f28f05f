"""Side-by-side benchmarks of Groundwire against named peers.

Each package starts every system in turn on the same machine and work, prints the ratios and writes them as JSON.
Nothing here is part of an installed Groundwire.
"""
