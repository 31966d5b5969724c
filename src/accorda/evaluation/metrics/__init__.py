"""One metric per file; `accorda.evaluation.registry` finds them by walking this folder."""
