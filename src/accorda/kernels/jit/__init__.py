"""Code that Triton compiles; importing it needs Triton."""
