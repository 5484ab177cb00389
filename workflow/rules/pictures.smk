# Pictures of what a method does, first seed only: of SIM's whole method (Table 3's last row), of BoxCaseg's
# network with all heads (Table 4) and of a Mask R-CNN on its merged and dropped masks (Table 7), of BAISeg's
# whole method (Table 3) and of its row with PPC beside that without. Tables that show those runs want them.
ILLUSTRATED_ROWS = [
    ("sim/3", "pseudo + paste"),
    ("boxcaseg/4", "Weak + salient + transferred"),
    ("boxcaseg/7", "PASCAL, merge, drop"),
    ("baiseg/3", "CFM + DMA + PPC"),
    ("baiseg/3", "CFM + DMA + PPC + refinement"),
]
ILLUSTRATED = [run for row in ILLUSTRATED_ROWS for run in list(PLAN.row_runs(*row).values())[:1]]


rule pictures:
    input:
        pictures_need,
        lambda wildcards: root_of(wildcards.run),
    output:
        f"{RESULTS}/runs/{{run}}/pictures/pictures.json",
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
        runtime=60,
    message:
        "Draw pictures of {wildcards.run}"
    shell:
        f"python -m wsis pictures {FLAGS} {{wildcards.run}} > {{log}} 2>&1"
