"""`python -m producers.cli`: the command line where the console script is on no PATH."""

from producers.cli import main

main()
