"""What the command line writes: tables, pages, progress."""
