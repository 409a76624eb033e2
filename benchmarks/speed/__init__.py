"""How fast the suite is, measured beside what it could be: ``make speed``."""
