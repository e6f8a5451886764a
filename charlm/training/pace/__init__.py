"""How many steps a training takes, and how fast: its budget, as steps, kept to as it runs."""
