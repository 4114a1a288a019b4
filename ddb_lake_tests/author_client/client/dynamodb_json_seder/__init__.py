"""A stand-in for a package of this name that the client imports and no registry has."""
