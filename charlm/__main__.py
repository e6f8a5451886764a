"""python -m charlm."""

from charlm.cli import main

if __name__ == "__main__":  # not where another process of several begins (bulk/processes.py)
    main()
