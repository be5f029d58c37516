"""`python -m dynlab` is the `dynlab` command."""

from dynlab.cli import main

if __name__ == "__main__":
    main()
