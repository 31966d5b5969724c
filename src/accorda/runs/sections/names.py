"""What people call what a run measures and proves."""

METRICS = {
    "eval_loss": ("Held-out loss", "nats per supervised token"),
    "perplexity": ("Perplexity", "of held-out rows"),
    "exact_match": ("Exact match", "share of held-out answers"),
    "f1": ("F1", "of words, held-out answers"),
    "rouge1": ("ROUGE-1", "held-out answers"),
    "rouge2": ("ROUGE-2", "held-out answers"),
    "rougeL": ("ROUGE-L", "held-out answers"),
    "bleu": ("BLEU", "held-out answers"),
    "accuracy": ("Accuracy", "share of held-out rows"),
    "f1_macro": ("Macro F1", "mean over the classes, held-out rows"),
    "matthews": ("Matthews correlation", "held-out rows"),
    "pearson": ("Pearson correlation", "held-out rows"),
    "mean_absolute_error": ("Mean absolute error", "held-out rows"),
    "preference_accuracy": ("Preference accuracy", "share of held-out pairs put in people's order"),
    "reward_margin": ("Reward margin", "by which the better answer wins, held-out pairs"),
    "reward": ("Reward", "of held-out answers"),
    "length": ("Length of answers", "tokens, held-out answers"),
    "ended": ("Answers that end", "share of held-out answers"),
    "kl": ("Distance from the reference", "nats per held-out answer"),
    "stop_rate": ("Answers ended by the model", "share, the rest ran into the limit"),
}
BESIDE = {"stop_rate", "rouge1", "rouge2"}
"""Metrics that stand beside others and have a curve, but are not what somebody asks for first."""
PROOFS = {
    "mask": "Exactly the intended tokens are learned, and the end of every answer among them.",
    "coverage": "Every target was found, and as many parameters train as the method predicts.",
    "movement": "Every trained tensor had a gradient and moved; every frozen one kept its bytes.",
    "gradient": "The gradient of a step is the gradient of its rows taken together.",
    "packing": "Rows that share a line do not see each other.",
    "start": "Before the first step the policy says what its reference says.",
    "roles": "Base, reference and reward model kept their bytes in every phase.",
    "resume": "A step made again from a checkpoint is the same step.",
    "save": "The files, read back, are what the memory held.",
    "merge": "The merged model says what the tuned one says.",
    "serve": "The server says what the trainer said.",
}


def metric_name(name: str) -> str:
    """A metric's name for people."""
    return METRICS[name][0] if name in METRICS else name


def metric_unit(name: str) -> str:
    """What it counts."""
    return METRICS[name][1] if name in METRICS else "at every evaluation"
