"""A texture space: what skin looks like in people, learned from the albedo that captures show of them."""
