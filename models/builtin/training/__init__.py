"""How the built-in model is made: its texts, its examples, its network, its training and its file."""
