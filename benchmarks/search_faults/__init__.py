"""The search service's faults, done for real: an index killed while it is written, a full disk, a Brave gone wrong."""
