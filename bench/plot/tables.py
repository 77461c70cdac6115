# SPDX-License-Identifier: Apache-2.0
"""usage: tables.py RESULT.json FOLDER - columns for gnuplot out of a result of gqa-bench."""
import json
import re
import sys

path, folder = sys.argv[1:]
with open(path) as file:
    cases = [c for c in json.load(file)["benchmarks"] if "suite" in c]


def table(name, rows):
    with open(f"{folder}/{name}.dat", "w") as file:
        file.write("nan nan none\n")  # gnuplot refuses an empty file
        for row in sorted(rows):
            file.write(" ".join(str(x) for x in row) + "\n")


# Every case as a point: operations per byte, GFLOP/s; f32 and bf16 apart.
points = {"f32": [], "bf16": []}
for case in cases:
    kind = "bf16" if "/bf16/" in case["name"] else "f32"
    if case["suite"] != "roofline" and case["flop"] > 0 and case["bytes"] > 0:
        points[kind].append((case["flop"] / case["bytes"], case["GFLOPS"], case["suite"]))
table("points_f32", points["f32"])
table("points_bf16", points["bf16"])

# The roofs: the best of the threads that were measured; 0 = not measured.
roofs = {"fma": 0, "amx": 0, "dram": 0, "l3": 0, "l2": 0}
for case in cases:
    if case["suite"] != "roofline":
        continue
    for key, mark, field in (("fma", "/fma-", "GFLOPS"), ("amx", "/amx-", "GFLOPS"),
                             ("dram", "/read-DRAM/8", "GBps"), ("l3", "/read-L3/8", "GBps"),
                             ("l2", "/read-L2/8", "GBps")):
        if mark in case["name"]:
            roofs[key] = max(roofs[key], case[field])
with open(f"{folder}/roofs.gp", "w") as file:
    for key, value in roofs.items():
        file.write(f"{key} = {value}\n")

# Microseconds per token against the context length: full, window, chunk; prefill and one step.
for name, suite in (("full", None), ("window", "window"), ("chunk", "chunked")):
    prefill, step = [], []
    for case in cases:
        if "/bf16/" not in case["name"] or "tiny" in case["name"]:
            continue
        row = (case["context"], case["real_time"] / case["tokens"] / 1e3)
        shape = "llama4" if name == "chunk" else "gpt-oss"
        if not re.search(f"/{shape}/", case["name"]):
            continue
        if case["suite"] == (suite or "prefill") and case["tokens"] > 1:
            prefill.append(row)
        if case["suite"] == (suite or "decode") and case["tokens"] == 1:
            step.append(row)
    table(f"prefill_{name}", prefill)
    table(f"step_{name}", step)
