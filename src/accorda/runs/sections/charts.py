"""The curves of a run: loss, metrics, learning rate, gradient norm, throughput, memory; evaluations as numbers."""

from dataclasses import replace

from accorda.runs.curves import SMOOTHED_FROM, Chart, Line, Points, mean_width
from accorda.runs.figures import number, short
from accorda.runs.markup import folded, table, text
from accorda.runs.sections.names import metric_name, metric_unit
from accorda.runs.story import Story, interval, is_number


def charts(story: Story) -> str:
    """Every chart that has points, and a table of the evaluations."""
    names = [name for name in story.metrics() if name != "eval_loss"]
    drawn = [loss(story), *(metrics(story, family) for family in families(names))]
    drawn += [learning_rate(story), grad_norm(story), throughput(story), memory(story)]
    steps = [step for event in story.events if is_number(step := event.get("step"))]
    figures = [replace(chart, steps=(min(steps), max(steps))).html() for chart in drawn] if steps else []
    figures = [html for html in figures if html]
    return f'<div class="charts">{"".join(figures)}</div>{evaluations(story)}' if figures else ""


def lead(story: Story) -> str:
    """How to read them."""
    if len(story.series("step", "loss")) < SMOOTHED_FROM:
        return ""
    width = mean_width(story.series("step", "loss"))
    return f"Thin lines are single steps, strong ones the mean of {width}. Rest the pointer on a curve for its values."


def loss(story: Story) -> Chart:
    """Of training and evaluation."""
    trained = Line(name="training", points=story.series("step", "loss"), jumps=True)
    found = story.series("evaluation", "eval_loss")
    held_out = Line(name="held-out rows", points=found, look="dots", bounds=bounds(story, "eval_loss"))
    return Chart(title="Loss", unit="nats per supervised token", lines=[trained, held_out], decades=True)


def families(names: list[str]) -> list[list[str]]:
    """Metrics that share a chart: the three of ROUGE."""
    rouge = [name for name in names if name.startswith("rouge")]
    return [[name] for name in names if name not in rouge] + ([rouge] if rouge else [])


def metrics(story: Story, names: list[str]) -> Chart:
    """Metrics of the evaluations with their intervals."""
    lines = [
        Line(name=metric_name(name), points=story.series("evaluation", name), look="dots", bounds=bounds(story, name))
        for name in names
    ]
    title = metric_name(names[0]) if len(names) == 1 else "ROUGE"
    return Chart(title=title, unit=metric_unit(names[0]), lines=lines, zero=True)


def bounds(story: Story, name: str) -> list[tuple[float, float, float]]:
    """The intervals of a metric over the evaluations that have one."""
    found = [(event["step"], interval(event, name)) for event in story.evaluations()]
    return [(step, *both) for step, both in found if both]


def learning_rate(story: Story) -> Chart:
    """As the schedule gave it."""
    line = Line(name="learning rate", points=story.series("step", "learning_rate"))
    return Chart(title="Learning rate", unit=story.setting("training.schedule"), lines=[line], zero=True)


def grad_norm(story: Story) -> Chart:
    """Before clipping, with the norm that gradients are clipped to."""
    norms = Line(name="gradient norm", points=story.series("step", "grad_norm"), jumps=True)
    lines = [norms, *level(story, "clipped to", "max_grad_norm")]
    return Chart(title="Gradient norm", unit="before clipping", lines=lines, zero=True)


def level(story: Story, name: str, setting: str) -> list[Line]:
    """A setting of the training as a level, where it is a number."""
    try:
        value = float(story.setting(f"training.{setting}"))
    except ValueError:
        return []
    return [Line(name=f"{name} {short(value)}", points=[(0.0, value)], look="level")]


def throughput(story: Story) -> Chart:
    """Tokens per second of every step."""
    seconds = dict(story.series("step", "seconds"))
    tokens = [(step, value / seconds[step]) for step, value in story.series("step", "tokens") if seconds.get(step)]
    line = Line(name="tokens/s", points=tokens, jumps=True)
    return Chart(title="Throughput", unit="tokens per second", lines=[line], zero=True)


def memory(story: Story) -> Chart:
    """The peak so far, beside the bill made before the run."""
    peaks: Points = [(step, value / 1e9) for step, value in story.series("step", "memory")]
    bill = story.result.get("bill_bytes")
    billed = [Line(name="bill", points=[(0.0, bill / 1e9)], look="level")] if is_number(bill) and bill > 0 else []
    return Chart(title="Peak memory", unit="GB", lines=[Line(name="peak so far", points=peaks), *billed], zero=True)


def evaluations(story: Story) -> str:
    """Every evaluation as a row of numbers, folded."""
    names = story.metrics()
    chosen = story.chosen().get("step")
    rows = []
    for event in story.evaluations():
        cells = [with_interval(event, name) for name in names]
        rows.append([f"{event['step']:g}{' (the result)' if event['step'] == chosen else ''}", *cells])
    return folded("The evaluations in numbers", table(("step", *map(metric_name, names)), rows, "numbers"))


def with_interval(event: dict[str, object], name: str) -> str:
    """`0.42 [0.38, 0.46]`."""
    value, both = event.get(name), interval(event, name)
    if not is_number(value):
        return "–"
    return text(number(value)) + (f" <small>[{number(both[0])}, {number(both[1])}]</small>" if both else "")
