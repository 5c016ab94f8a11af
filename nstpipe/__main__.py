"""`python -m nstpipe`."""

from nstpipe.cli import main

if __name__ == "__main__":
    main()
