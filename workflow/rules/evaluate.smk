# What needs no training: metrics of predictions, and the colour affinity of ground-truth masks.


rule evaluate:
    input:
        f"{RESULTS}/runs/{{run}}/predictions.json",
    output:
        f"{RESULTS}/runs/{{run}}/metrics.json",
    log:
        f"{RESULTS}/logs/evaluate/{{run}}.log",
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        mem_mb=2000 if GENERATED else 16000,
        runtime=30,
    message:
        "Evaluate {wildcards.run}"
    shell:
        f"python -m wsis evaluate {FLAGS} {{wildcards.run}} > {{log}} 2>&1"


rule affinity:
    input:
        [f"{RESULTS}/data/{root}/stats.json" for root in list(ROOTS)[:1]] or user_root,
    output:
        f"{RESULTS}/affinity.json",
    log:
        f"{RESULTS}/logs/affinity.log",
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        mem_mb=2000 if GENERATED else 16000,
        runtime=60,
    message:
        "Measure the colour affinity of ground-truth masks"
    shell:
        f"python -m wsis affinity {FLAGS} > {{log}} 2>&1"
