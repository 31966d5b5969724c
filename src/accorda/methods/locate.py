"""What a name stands for: hub id, model folder, adapter folder, run, bundled. And the way out where it is none."""

from dataclasses import dataclass
from pathlib import Path

from accorda.errors import Refusal
from accorda.methods.named import hub_id
from accorda.methods.storage import is_adapter, read_header
from accorda.models.folder import BUNDLED, model_folder
from accorda.runs.layout import RunFolder
from accorda.runs.replace import recover


@dataclass(frozen=True)
class Place:
    """What a name stands for: a base (model folder or hub id), an adapter on it or None, and the run if it is one."""

    base: str
    adapter: Path | None = None
    run: RunFolder | None = None


def locate(path: str | Path) -> Place:
    """What a name stands for, without loading any weights. A hub id is downloaded to see whether it is an adapter.

    `bundled` is the model that comes with accorda, also where a folder has that name.

    Raises:
        Refusal: nothing of that name, or what stands there is no model; an unfinished run; an adapter without its base.
    """
    if str(path) == BUNDLED:
        return Place(BUNDLED)
    folder = Path(path).expanduser()
    recover(folder)
    if not folder.exists():
        downloaded = model_folder(hub_id(path))
        return _of_adapter(downloaded) if is_adapter(downloaded) and not _is_model(downloaded) else Place(str(path))
    run = RunFolder(folder)
    if run.is_run():
        if is_adapter(_result_of(run)):
            return Place(_of_adapter(run.adapter).base, run.adapter, run)
        return Place(str(run.model), None, run)
    if is_adapter(folder):
        return _of_adapter(folder)
    if _is_model(folder):
        return Place(str(folder))
    raise Refusal(_nothing_in(folder))


def adapter_folder(path: str | Path) -> Path:
    """The folder of the adapter that `path` names: itself, a run's, or a hub id's; its base need not be here."""
    folder = Path(path).expanduser()
    recover(folder)
    if not folder.exists():
        folder = model_folder(hub_id(path, "model.adapter"))
    run = RunFolder(folder)
    if run.is_run():
        folder = _result_of(run)
    if not is_adapter(folder):
        raise Refusal(f"model.adapter = {path}: no adapter (adapter_config.json) is there")
    return folder


def _of_adapter(folder: Path) -> Place:
    """An adapter with the base that its files name: from where we stand, or from a folder the adapter lies in."""
    named = read_header(folder)["base_path"]
    way_out = f"give it: model.path = its base, model.adapter = {folder}"
    if not named:
        raise Refusal(f"{folder}: the adapter does not say which base it was trained on; {way_out}")
    around = [] if Path(named).is_absolute() else [parent / named for parent in folder.resolve().parents]
    if named == BUNDLED:
        return Place(BUNDLED, folder)
    found = next((place for place in [Path(named).expanduser(), *around] if place.is_dir()), None)
    if found is None and (Path(named).is_absolute() or named.startswith((".", "~")) or named.count("/") > 1):
        raise Refusal(f"{folder}: the adapter's base {named} is not here; {way_out}")
    if found is None:
        return Place(named, folder)  # a hub id
    base = locate(found)
    if base.adapter is not None:
        raise Refusal(f"{folder}: the adapter's base {named} is itself an adapter, and accorda stacks none; {way_out}")
    return Place(base.base, folder)


def _result_of(run: RunFolder) -> Path:
    """The adapter or model folder of a complete run."""
    if run.is_unfinished():
        raise Refusal(f"{run.path}: this run is not finished; finish it with: accorda resume {run.path}")
    for folder in (run.adapter, run.model):
        recover(folder)
        if is_adapter(folder) or _is_model(folder):
            return folder
    raise Refusal(f"{run.path}: this run has neither adapter/ nor model/; train it again")


def _is_model(folder: Path) -> bool:
    return (folder / "config.json").is_file()


def _is_something(folder: Path) -> bool:
    return folder.is_dir() and (is_adapter(folder) or _is_model(folder) or RunFolder(folder).is_run())


def _nothing_in(folder: Path) -> str:
    if not folder.is_dir():
        return f"model.path = {folder}: a file; name the folder that holds the model, adapter or run"
    inside = [str(each) for each in sorted(folder.iterdir()) if _is_something(each)]
    kinds = "neither a run (recipe.yaml), an adapter (adapter_config.json) nor a model (config.json)"
    return f"model.path = {folder}: {kinds}" + (f"; did you mean {', '.join(inside[:3])}?" if inside else "")
