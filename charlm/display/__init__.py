"""Text and figures as people see them: escaped, shaded by surprisal, as HTML."""
