"""What a step computes besides matrix products: each file one operation, in torch and fused by Triton on CUDA."""
