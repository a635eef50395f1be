"""`makemore runs`."""

import math
from typing import Any

from makemore.cli import output
from makemore.cli.options import Json


def runs(as_json: Json = False) -> None:
    """List the runs under runs/, best first, grouped by split digest."""
    from makemore.run_directory import list_runs

    summaries = [_summary(str(run.path), run.records()) for run in list_runs()]
    groups: dict[str | None, list[dict[str, Any]]] = {}
    for summary in summaries:
        groups.setdefault(summary["split_digest"], []).append(summary)
    if not summaries:
        output.say("no runs here; train one with `makemore train --model mlp`")
    for digest, group in groups.items():
        group.sort(key=lambda summary: (_loss(summary), summary["run"]))
        if as_json:
            for summary in group:
                output.write_json(summary)
            continue
        output.write_line(f"split {group[0]['split'] or '-'}, digest {digest or '-'}")
        rows = [["run", "model", "parameters", "steps", "val nats/char", "± s.e.", "seconds", ""]]
        for summary in group:
            rows.append(
                [
                    summary["run"],
                    summary["model"] or "-",
                    output.quantity(summary["num_parameters"], 0),
                    f"{summary['step']}/{output.quantity(summary['num_steps'], 0)}",
                    output.quantity(summary["nats_per_char"], 4),
                    output.quantity(summary["standard_error"], 4),
                    output.quantity(summary["seconds"], 1),
                    "" if summary["finished"] else "unfinished",
                ]
            )
        output.write_table(rows)


def _loss(summary: dict[str, Any]) -> float:
    loss = summary["nats_per_char"]
    return math.inf if loss is None else float(loss)


def _summary(run: str, records: list[dict[str, Any]]) -> dict[str, Any]:
    """What the records of a run say about it; None for what they do not say."""
    start = next((record for record in records if record["event"] == "start"), {})
    # A model that is fitted has no parameters before.
    fitted = next((record for record in records if record["event"] == "fitted"), start)
    measured = [
        record
        for record in records
        if (record["event"] == "evaluation" and record.get("best")) or record["event"] == "end"
    ]
    best = measured[-1] if measured else {}
    on_val = best.get("split", "val") == "val"
    return {
        "run": run,
        "model": start.get("model"),
        "num_parameters": fitted.get("num_parameters"),
        "step": records[-1]["step"] if records else 0,
        "num_steps": start.get("num_steps"),
        "nats_per_char": best.get("loss") if on_val else None,
        "standard_error": best.get("standard_error") if on_val else None,
        "seconds": records[-1].get("seconds") if records else None,
        "split": start.get("split"),
        "split_digest": start.get("split_digest"),
        "finished": bool(records) and records[-1]["event"] == "end",
    }
