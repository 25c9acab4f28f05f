"""What the systems are made to do: each module is one work, and knows no system."""
