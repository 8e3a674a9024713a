"""How it is run: on one machine, in containers, against simulators."""
