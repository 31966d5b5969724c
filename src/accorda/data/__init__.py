"""Rows in, token ids and masks out: formats, renderer, packing, sampler, token store, check."""
