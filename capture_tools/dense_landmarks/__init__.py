"""Landmarks of the head's own surface, found in the picture near those of the detector, each with its deviation."""
