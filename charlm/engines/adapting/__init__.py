"""A network mixed with counts that may go on learning (counts/adaptive.py)."""
