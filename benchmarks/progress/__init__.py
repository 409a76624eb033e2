"""The progress of a command: reporting it (``report``) and showing it (``screen``)."""
