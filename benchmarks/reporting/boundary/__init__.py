"""Where reports meet what they do not control: records and files beside them, the user's settings and folder."""
