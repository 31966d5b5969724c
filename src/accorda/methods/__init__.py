"""Methods of fine-tuning under one contract, in the four families of the taxonomy of Lialin et al. 2023."""
