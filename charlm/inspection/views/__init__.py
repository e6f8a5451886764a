"""What was found inside a model as figures, words and pieces of HTML, view by view."""
