"""The invariants of a house, looked at from outside: plain Python that imports nothing of the project.

`store` reads the store and `layout` the names and hashes in it, `trail` the audit, `clients` what the house's clients
saw. `grammar`, `rules` and `model` are the rules once more. `finding` holds what was found; the invariants are in files
by theme, and `__main__` runs them all.
"""
