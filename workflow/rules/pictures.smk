# Pictures of what a method does, of the rows that its info names, first seed only. Tables that show those runs
# want them.
ILLUSTRATED = illustrated(PLAN)


rule pictures:
    input:
        pictures_need,
        lambda wildcards: root_of(wildcards.run),
    output:
        report(
            directory(f"{RESULTS}/runs/{{run}}/pictures"),
            patterns=["{name}.jpg"],
            category="Pictures",
            labels={"run": "{run}", "picture": "{name}"},
        ),
    log:
        f"{RESULTS}/logs/pictures/{{run}}.log",
    wildcard_constraints:
        run="|".join(ILLUSTRATED) or "none",
    priority: lambda wildcards: priority_of(RANKS.get(wildcards.run, 0), "draw pictures")
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        mem_mb=2000 if GENERATED else 16000,
        runtime=lambda wildcards, attempt: 60 * attempt,  # it begins again after a limit
    message:
        "Draw pictures of {wildcards.run}"
    shell:
        f"{KEEP_LOGS}exec python -m wsis pictures {FLAGS} {{wildcards.run}} > {{log}} 2>&1"
