"""What is known of SIM without torch."""

from wsis.methods.info import Info

INFO = Info(
    name="sim",
    network="wsis.methods.sim.method:SIM",
    benches={"step": "wsis.methods.sim.bench:bench"},
)
