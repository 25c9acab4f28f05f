"""How good the answers of a model are, on the project's own pinned questions and sources."""
