"""What api and console share of HTTP: who asks, what they may, bodies, parameters, problems.

Knows neither of the two.
"""
