"""Figures as JSON, by the names that they have on the command line and over HTTP."""
