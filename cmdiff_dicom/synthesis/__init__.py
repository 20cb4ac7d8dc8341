"""A digital head with a tumour whose truth is known; arrays only."""
