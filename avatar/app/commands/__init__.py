"""The commands of `avatar`: one dataclass each, whose fields are the options and whose `run` does the work."""
