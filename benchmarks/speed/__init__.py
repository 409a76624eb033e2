"""Speed of the suite, compared with hand-written loops and hardware limits: ``make speed``."""
