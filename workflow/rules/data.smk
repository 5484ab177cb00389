# Data roots that are generated, one a seed and kind of images. A root is whole when it has its stats.json; whatever lies there
# without it (Snakemake itself makes the folder before the job starts) is removed.
ROOTS = {job.data: PLAN.runs[job.runs[0]].seed for job in PLAN.jobs if job.data}


rule shapes:
    output:
        f"{RESULTS}/data/{{root}}/stats.json",
    log:
        f"{RESULTS}/logs/data/{{root}}.log",
    wildcard_constraints:
        root="|".join(ROOTS) or "none",
    priority: 100  # before any training, or a core idles while the last seed's images are drawn
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
        f"python -m wsis data make {RECIPE_FLAGS} --seed {{params.seed}} --root {{wildcards.root}} "
        f"> {{log}} 2>&1"
