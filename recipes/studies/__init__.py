"""Research questions as grids of runs: `optical study FILE`."""
