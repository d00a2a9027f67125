"""Numbers into tables: medians, spread, and ringway's ratio to the better of its competitors beside the goal."""

from statistics import median

KIB = 1024
MIB = 1024 * 1024
SUBJECT = "ringway"
BASELINE = "baseline"
PLAIN = f"{SUBJECT} plain"


def load_table(scenario, results):
    """A loaded scenario: medians over the rounds, and how far the rounds' CPU times lay apart."""
    cpu_us = {name: middle(rounds, "cpu_us") for name, rounds in results.items()}
    header = ["proxy", "requests/s", "CPU µs/request", "(lowest–highest)", "p50 ms", "p99 ms", "memory MiB"]
    rows = [header]
    for name, rounds in results.items():
        cpu = [one.cpu_us for one in rounds]
        rows.append([
            name,
            f"{middle(rounds, 'requests_per_s'):,.0f}",
            f"{cpu_us[name]:.2f}",
            f"{min(cpu):.2f}–{max(cpu):.2f}",
            f"{middle(rounds, 'p50_us') / 1000:.2f}",
            f"{middle(rounds, 'p99_us') / 1000:.2f}",
            f"{middle(rounds, 'memory_bytes') / MIB:.1f}",
        ])
    lines = table(rows)
    errors = {name: sum(one.errors for one in rounds) for name, rounds in results.items()}
    for name, count in errors.items():
        if count:
            lines += ["", f"**{name}: {count} requests failed; its row means nothing.**"]
    return lines + ratio(scenario, cpu_us) + change(cpu_us) + additions(scenario, cpu_us)


def ratio(scenario, cpu_us):
    """Ringway's CPU time per request over that of the better competitor."""
    rivals = [name for name in cpu_us if name not in (SUBJECT, BASELINE) and name not in part_rows(scenario)]
    if SUBJECT not in cpu_us or not rivals:
        return []
    better = min(rivals, key=cpu_us.get)
    value = cpu_us[SUBJECT] / cpu_us[better]
    whose = f" (the better of {' and '.join(rivals)})" if len(rivals) > 1 else ""
    text = f"CPU per request, {SUBJECT} / {better}{whose}: **{value:.2f}**"
    return ["", text + verdict(value, scenario.goal, f"at most {scenario.goal}")]


def change(cpu_us):
    """Ringway's CPU time per request over that of the build it is compared with, where there is one."""
    if SUBJECT not in cpu_us or BASELINE not in cpu_us:
        return []
    return ["", f"CPU per request, {SUBJECT} / {BASELINE}: **{cpu_us[SUBJECT] / cpu_us[BASELINE]:.3f}**"]


def additions(scenario, cpu_us):
    """What each of ringway's rows takes beyond the one without policies: a difference of medians of one run."""
    if PLAIN not in cpu_us:
        return []
    goals_us = {SUBJECT: None, **part_rows(scenario)}
    lines = [""]
    for name, goal_us in goals_us.items():
        if name != PLAIN:
            value = cpu_us[name] - cpu_us[PLAIN]
            words = verdict(value, goal_us, f"at most {goal_us} µs")
            lines.append(f"- CPU per request, {name} − {PLAIN}: **{value:+.2f} µs**{words}")
    return lines


def part_rows(scenario):
    """The names of ringway's further rows, with the goal of each."""
    return {f"{SUBJECT} {part}": goal_us for part, goal_us in scenario.parts.items()}


def idle_table(scenario, results):
    rows = [["proxy", "KiB per idle connection", "(lowest–highest)"]]
    for name, values in results.items():
        rows.append([name, f"{median(values) / KIB:.2f}", f"{min(values) / KIB:.2f}–{max(values) / KIB:.2f}"])
    lines = table(rows)
    if SUBJECT in results:
        value = median(results[SUBJECT])
        words = f"at most {scenario.goal / KIB:.0f} KiB"
        lines += ["", f"{SUBJECT}: **{value / KIB:.2f} KiB**" + verdict(value, scenario.goal, words)]
    return lines


def verdict(value, goal, words):
    if goal is None:
        return " (no goal)"
    return f" (goal: {words}; {'met' if value <= goal else 'MISSED'})"


def middle(rounds, field):
    return median(getattr(one, field) for one in rounds)


def table(rows):
    """A markdown table that also reads well in a terminal: the first column to the left, numbers to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [cell.ljust(width) if i == 0 else cell.rjust(width) for i, (cell, width) in enumerate(zip(row, widths))]
        lines.append("| " + " | ".join(cells) + " |")
    rule = [":" + "-" * (widths[0] - 1)] + ["-" * (width - 1) + ":" for width in widths[1:]]
    lines.insert(1, "| " + " | ".join(rule) + " |")
    return lines
