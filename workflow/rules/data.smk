# Data roots that are generated, one a seed and kind of images. A root is whole when it has its stats.json; whatever lies there
# without it (Snakemake itself makes the folder before the job starts) is removed.
ROOTS = {root: run.seed for run in PLAN.runs.values() if (root := shapes_root(run.recipe))}
FIRST = {}  # root -> position of the first table that is trained on it
for job in WORK.trainings:
    FIRST[job.data] = min(job.rank, FIRST.get(job.data, job.rank))


rule shapes:
    output:
        f"{RESULTS}/data/{{root}}/stats.json",
    log:
        f"{RESULTS}/logs/data/{{root}}.log",
    wildcard_constraints:
        root="|".join(ROOTS) or "none",
    priority: lambda wildcards: priority_of(FIRST.get(wildcards.root, 0), "data")  # or a core idles meanwhile
    localrule: True
    conda:
        "../../environment.yml"
    threads: 1
    params:
        seed=lambda wildcards: ROOTS[wildcards.root],
    message:
        "Draw the synthetic data set {wildcards.root}"
    shell:
        f"rm -rf {RESULTS}/data/{{wildcards.root}} && "
        f"exec python -m wsis data make {RECIPE_FLAGS} --seed {{params.seed}} --root {{wildcards.root}} "
        f"> {{log}} 2>&1"


# The first job of what trains on the user's images: its trainings depend on it, and it takes no time where nothing
# changed since the last verdict. What changed has none: `same_roots` removes it before this is read.
JUDGED = groups(PLAN, [run for job in WORK.trainings for run in job.runs])
VERDICTS = {
    run: str(verdict_file(Path("results"), SCALE, name))
    for name, group in JUDGED.items()
    for run in group.runs
}


rule judge:
    output:
        f"{RESULTS}/data/{{group}}.json",
    log:
        f"{RESULTS}/logs/data/{{group}}.log",
    wildcard_constraints:
        group="|".join(JUDGED) or "none",
    priority: priority_of(0, "data")
    localrule: True
    conda:
        "../../environment.yml"
    threads: 1
    params:
        run=lambda wildcards: JUDGED[wildcards.group].runs[0],
    message:
        "Check the images and annotations of {wildcards.group}"
    shell:
        f"exec python -m wsis data judge {FLAGS} {ONLY}{{params.run}} > {{log}} 2>&1"
