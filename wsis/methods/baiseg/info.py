"""What is known of BAISeg without torch."""

from wsis.methods.info import Info

INFO = Info(
    name="baiseg",
    network="wsis.methods.baiseg.method:BAISeg",
    benches={"extract": "wsis.methods.baiseg.bench:bench"},
)
