"""What turns a model, batches and an objective into a trained model: the loop and everything that keeps it safe."""
