"""Help for readers of the boards: the guide, the glossary, the sources of defaults, and published numbers."""
