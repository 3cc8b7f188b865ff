"""For the people who write rules: checks, tests, explanations, backtests, coverage, conversion."""
