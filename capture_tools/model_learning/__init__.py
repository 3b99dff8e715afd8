"""A head model from registrations: pose space, expression space and shape space, as FLAME was learned."""
