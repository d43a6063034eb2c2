"""`python -m toolkit` is `pocketcl`."""

from toolkit.cli import main

if __name__ == "__main__":
    main()
