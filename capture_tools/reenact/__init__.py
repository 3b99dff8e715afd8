"""A photograph that talks: a driver's expressions on the photograph's own head."""
