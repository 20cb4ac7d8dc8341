"""Train, evaluate and compare the model; never in the hospital's path."""
