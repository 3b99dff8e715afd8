"""From a scan of a head to the head model's topology: reading, finding the face, fitting and measuring."""
