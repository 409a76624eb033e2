"""What a command is doing: reported where it is done (``report``), and shown (``screen``)."""
