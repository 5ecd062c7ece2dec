"""`python -m llmbench`: the same as the command `llmbench`."""

from llmbench.cli import main

if __name__ == "__main__":
    main()
