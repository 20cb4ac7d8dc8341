"""Region probabilities return to the scanner's grid and become labels and volumes in ml."""
