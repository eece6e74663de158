"""The fault laboratory: real processes, a link of ours between each pair, one fault at a time, then the checks.

`floor` runs the house and starts again what dies; `pusher` and `police` are its clients, who write what they saw to the
`history`. An `experiment` strikes; the files of `experiments/` are its kinds. `conduct` runs one: load, strikes,
quiescence, checks, a row of the table. `python -m tests.system.laboratory --list` names them all.
"""
