"""One sentence per setting: for the recipes that `init` writes and for the reference in the docs.

What a setting chooses from is filled in from the folders, so that a new file is named here by itself.
"""

from accorda.recipe import registries
from accorda.recipe.number_formats import number_formats
from accorda.recipe.registries import listed

SAYS = {
    "stage": f"what kind of run: {registries.stages_in_words()}",
    "model.path": "a hub id, a model folder, an adapter folder or a run",
    "model.adapter": "an adapter folder to go on from, on the model above",
    "model.config": "a config.json, or its content: random weights instead of trained ones",
    "model.dtype": "of the frozen weights: auto (as stored), float32, bfloat16 or float16",
    "model.added_tokens": "new tokens for the tokenizer; their rows in embedding and head train beside the method",
    "model.quantization": "the number format that frozen linear layers are kept in (nf4: QLoRA): "
    f"{listed(['none', *number_formats()])}",
    "model.double_quantization": "of nf4: keep the scales of blocks in 8 bit, at 4.127 bits a weight instead of 4.5",
    "model.trust_remote_code": "run code that comes with the model",
    "method.name": "which method; accorda methods lists them with what each promises",
    "data.train": "a path, hf:owner/name:split, a list of paths, or a list of {path, weight, format, columns}",
    "data.eval": "the same for evaluation; null: a share of the training rows",
    "data.eval_split": "the share of the training rows kept for evaluation where data.eval is null",
    "data.format": "auto finds it: "
    f"{listed(registries.row_formats())}; of comparisons {listed(registries.row_formats('preferences'))}; of "
    f"prompts {listed(registries.row_formats('prompts'))}",
    "data.columns": "our name: the name in the file, such as {prompt: question, completion: answer}",
    "data.template": f"auto: the tokenizer's; or a built-in one: {listed(registries.templates())}; or a .jinja file",
    "data.supervise": "learn from all assistant turns, or from the last",
    "data.reasoning": "reasoning in assistant turns: keep, drop_history (keep the last turn's) or none",
    "data.max_length": "tokens per row; auto: the model's positions, at most 1024",
    "data.overlong": "rows that do not fit: skip, truncate_prompt, truncate, error; auto: skip up to a quarter; "
    "stage classify truncates, reward and preference never do",
    "data.limit": "use only this many of the first rows of data.train; null: all",
    "data.eval_limit": "use only this many of the first rows of data.eval; null: all",
    "data.on_bad_row": "error: refuse the run at the first row that cannot be read; skip: count and list them",
    "training.epochs": "how often every row is seen",
    "training.max_steps": "stop after this many optimizer steps; null: when the epochs are over",
    "training.batch_size": "examples per optimizer step, over all devices and before packing",
    "training.micro_batch_size": "rows per forward pass; changes speed and memory, not the gradient",
    "training.learning_rate": "how far a step goes; auto: measured or published for this method and stage",
    "training.schedule": "the learning rate after the warm-up: constant, or falling to zero linear or cosine",
    "training.warmup_steps": "optimizer steps until the full learning rate; auto: 3% of the run, at most 100",
    "training.weight_decay": "how much of every trained weight a step takes away, times the learning rate",
    "training.max_grad_norm": "gradients are scaled down to this norm; null: never",
    "training.optimizer": f"{{name: N}} with settings of its own, N: {listed(registries.optimizers())}",
    "training.packing": "several rows per line that never see each other; auto: where the model allows it",
    "training.precision": "what is computed in: fp32, bf16 or fp16 (CUDA only); auto: bf16 where the hardware has it",
    "training.gradient_checkpointing": "compute activations again instead of keeping them: less memory, slower",
    "training.checkpoint_every": "optimizer steps between complete checkpoints",
    "training.keep_checkpoints": "how many checkpoints stay; the best one always does",
    "training.threads": "CPU threads; auto: times a few steps and keeps the faster number",
    "training.seed": "everything random follows from it: order, start values, dropout, split",
    "training.trackers": f"which of {listed(registries.trackers(), 'and')} follow the event log",
    "evaluation.every": "optimizer steps between evaluations",
    "evaluation.metrics": f"of likelihoods: {listed(registries.metrics('likelihood'), 'and')}; of generated "
    f"answers: {listed(registries.metrics('generations'), 'and')}; of classes: "
    f"{listed(registries.metrics('classes'), 'and')}; of numbers: {listed(registries.metrics('numbers'), 'and')}; of "
    f"comparisons: {listed(registries.metrics('preferences'), 'and')}",
    "evaluation.generate": "how many evaluation prompts to answer at every evaluation; metrics of answers: 0 is all",
    "evaluation.samples": "how many of them base and tuned model answer at the end, side by side in the report",
    "evaluation.max_new_tokens": "the longest such answer",
    "evaluation.best": "the metric whose best checkpoint is the result: eval_loss or one of metrics",
    "evaluation.patience": "stop after this many evaluations without a better one; null: never",
    "algorithm.labels": "of stage classify: classes or numbers; auto: numbers where they have a point",
    "algorithm.centring": "of stage reward: weight of the square that draws rewards towards zero; 0.01 is usual",
    "algorithm.name": f"of stage preference: {listed(registries.preference_algorithms())}; of stage rl: "
    f"{listed(registries.rl_algorithms())}",
    "output": "the run folder; null: runs/<date>-<stage>-<method>",
}
LATER = ("algorithm", "rollout", "reward")  # sections of the stages that align a model
