# Quality of BoxCaseg's proxy masks, of the first stages that tables with such `measures` are about: one rule
# for all that are measured together, since starting Python takes longer than measuring. Nothing is trained or
# predicted for it.
from wsis.declare.table import PROXY_MEASURES
from wsis.methods.boxcaseg.measures import proxy_specs, rules_of
from wsis.methods.boxcaseg.proxy_setting import setting

SPECS = proxy_specs(PLAN)


def masked(tables):
    """The first stages and the baselines of these tables' rows, where a table has measures of their masks."""
    shown = [key for key in tables if {*PLAN.tables[key].measures} & {*PROXY_MEASURES}]
    runs = [PLAN.runs[run] for key in shown for run in PLAN.wanted([key])]
    return list(dict.fromkeys(rules.parent for run in runs if (rules := rules_of(run.recipe))))


def proxies_for(tables):
    """The measurements that a report on these tables shows."""
    return [f"{RESULTS}/proxy/{id}.json" for id in masked(tables)]


for ids in measured_together(masked):

    rule:
        name:
            f"proxy_quality_{ids[0]}"
        input:
            [f"{RESULTS}/runs/{id}/train.json" for id in ids],
            root_of(ids[0]),
        output:
            [f"{RESULTS}/proxy/{id}.json" for id in ids],
        log:
            f"{RESULTS}/logs/proxy/{ids[0]}.log",
        priority: priority_of(min((RANKS[run] for run in ids if run in RANKS), default=0), "measure")
        conda:
            "../../environment.yml"
        threads: 1
        resources:
            mem_mb=2000 if GENERATED else 16000,
            runtime=60,
        params:
            ids=" ".join(ids),
            settings=sorted({setting(spec) for id in ids for spec in SPECS[id]}),  # a new one makes it again
            measures=PROXY_MEASURES,  # and a new measure
        message:
            f"Measure the proxy masks of {len(ids)} run(s), {ids[0]}"
        shell:
            f"python -m wsis proxy-quality {FLAGS} {{params.ids}} > {{log}} 2>&1"
