"""Register lists of other tools as profiles. Nothing is guessed; what could not be taken over is told line by line."""
